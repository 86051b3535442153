"""``python -m hpcpgd.doctor.kit.allreduce_times``: the time of an Allreduce by size, as JSON."""

from __future__ import annotations

import json
import os
import socket
import sys

import numpy as np

from hpcpgd.cli.launcher import guarded, say
from hpcpgd.doctor.allreduce_check import measure
from hpcpgd.errors import UnavailableError
from hpcpgd.parallel import mpi
from hpcpgd.train.job import on_world

PROGRAM = "hpcpgd.doctor.kit.allreduce_times"
SIZES = (8, 2**10, 2**15, 2**20, 2**22, 2**24)  # bytes; a gradient of Net-1h has 3.3e6


def main() -> int:
    """Measure and return the exit code; collective over all ranks."""
    return guarded(PROGRAM, lambda: on_world(PROGRAM, _measure))


def _measure(world: mpi.Comm) -> None:
    ranks = mpi.join(world)
    names = {socket.gethostname(), os.environ.get("SLURMD_NODENAME", "")} - {""}
    texts = mpi.allgather_texts(ranks.comm, " ".join(sorted(names)))
    sums = []
    for size in SIZES:
        seconds, right = measure(ranks, np.full(size // 4, 1 + ranks.rank, np.float32))
        with mpi.agreed(ranks.comm):
            if not right:
                raise UnavailableError(
                    f"a sum of {size} bytes over {ranks.size} ranks is wrong: try another "
                    "transport of the MPI library, or another library"
                )
        sums.append((size, seconds))
    if ranks.rank == 0:
        hosts = list(dict.fromkeys(" ".join(texts).split()))
        say(json.dumps({"ranks": ranks.size, "nodes": ranks.nodes, "hosts": hosts, "sums": sums}))
    mpi.leave(ranks)


if __name__ == "__main__":
    sys.exit(main())
