"""``python -m hpcpgd.gpu_probe``: exit 0 if MPI reads and writes GPU memory here.

One process alone sends a device array to itself and adds two of them up.  An MPI that is
not GPU-aware takes the addresses for the host's and crashes, which is why this is a
program of its own.
"""

from __future__ import annotations

import sys

from hpcpgd import mpi


def main() -> int:
    """Return 0 if what MPI moved and added on the device is right."""
    import cupy

    ones = cupy.ones(4096, cupy.float32)
    twos = 2 * ones
    moved = cupy.zeros_like(ones)
    cupy.cuda.Device().synchronize()
    mpi.exchange_and_add(mpi.start(), ones, twos, moved)
    right = bool((moved == 1).all()) and bool((twos == 3).all())
    mpi.finish()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
