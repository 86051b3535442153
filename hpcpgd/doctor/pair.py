"""``python -m hpcpgd.doctor.pair``: print the size of the MPI world, as each rank sees it."""

from hpcpgd.parallel import mpi

if __name__ == "__main__":
    print(f"size={mpi.initialise().size};")
    mpi.finish()
