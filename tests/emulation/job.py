"""``python -m tests.emulation.job``: the program's own command on emulated GPUs.

``EMULATED_MPI`` says whether MPI is taken to be GPU-aware: ``direct`` or ``staged``.
"""

from __future__ import annotations

import os
import sys

from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi
from hpcpgd.train import cli


def emulate() -> None:
    """Let the program find emulated GPUs."""
    mpi.start()
    ranks = mpi.join(mpi.MPI.COMM_WORLD)
    jit_cache.share_folder(ranks)
    mpi.leave(ranks)

    from hpcpgd.machine import gpu
    from tests.emulation.device import EmulatedDevice

    gpu.open_device = lambda backend, node_rank: EmulatedDevice()
    aware = os.environ["EMULATED_MPI"] == "direct"
    gpu.why_mpi_is_not_gpu_aware = lambda: "" if aware else "as told"


def main() -> int:
    emulate()
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
