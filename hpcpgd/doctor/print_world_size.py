"""``python -m hpcpgd.doctor.print_world_size``: each rank prints the size of its world."""

from hpcpgd.parallel import mpi

if __name__ == "__main__":
    print(f"size={mpi.initialise().size};")
    mpi.finish()
