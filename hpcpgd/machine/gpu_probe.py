"""``python -m hpcpgd.machine.gpu_probe``: exit 0 if MPI reads and writes GPU memory here.

One process sends a device array to itself and adds two device arrays.  An MPI that is not
GPU-aware takes their addresses for addresses of the host and crashes.  Therefore this is a program
of its own.
"""

from __future__ import annotations

import resource
import sys

import numpy as np

from hpcpgd.parallel import mpi

SIZE = 2**20  # numbers: MPI sends large messages in another way than small ones


def main() -> int:
    """Return 0 if the arrays that MPI sent and added on the device are right."""
    # A crash is an expected result: leave no core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    world = mpi.start()  # before CUDA, as in training
    import cupy

    ones = cupy.asarray(np.full(SIZE, 1, np.float32))
    twos = cupy.asarray(np.full(SIZE, 2, np.float32))
    moved = cupy.asarray(np.zeros(SIZE, np.float32))
    cupy.cuda.Device().synchronize()
    mpi.exchange_and_add(world, ones, twos, moved)
    right = bool((moved.get() == 1).all()) and bool((twos.get() == 3).all())
    mpi.finish()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
