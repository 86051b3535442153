"""Measure the time of a training step besides arithmetic: Python, calls, commands, barriers.

    python -m scripts.measure_overhead [--quick]

Times steps of a 1-1-2 network on one row, which have almost no arithmetic, on one rank with one
and with two threads.  Counts the Python objects that remain after a step.
"""

from __future__ import annotations

import argparse
import gc
import sys
from contextlib import closing
from time import perf_counter
from typing import Any

import numpy as np

from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi

TURNS = 9


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few steps")
    steps = 50 if parser.parse_args().quick else 5000
    jit_cache.share_folder(mpi.join(mpi.start()))
    for threads in (1, 2):
        with closing(make(threads)) as trainer:
            seconds, objects = measure(trainer, steps)
        print(
            f"{threads} thread{'s' * (threads > 1)}: {1e6 * seconds:.1f} us a step without "
            f"arithmetic (median of {TURNS} turns); {objects} objects left by {steps} steps"
        )
    mpi.finish()
    return 0


def make(threads: int) -> Any:
    """Return a trainer of the smallest network with ``threads`` threads."""
    from hpcpgd.kernels.core.network import Network
    from hpcpgd.machine.resources import find_blas
    from hpcpgd.train.warmup import warm_up
    from scripts.bench.contestants import make_trainer_of
    from scripts.bench.setting import Setting, load_data

    data = load_data("synthetic:1000x1x2")
    setting = Setting(mpi.MPI.COMM_SELF, data, Network((1, 1, 2)), 1, find_blas("gemm"))
    trainer = make_trainer_of("gemm", setting, threads)
    warm_up(trainer)
    return trainer


def measure(trainer: Any, steps: int) -> tuple[float, int]:
    """Return the median seconds of a step, and how many objects remain after all steps."""
    count = trainer.sampler.steps
    turns = []
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(TURNS):
        start = perf_counter()
        for step in range(steps):
            trainer.reduction.step(1, step % count, 0.1)
        turns.append((perf_counter() - start) / steps)
    gc.collect()
    return float(np.median(turns)), len(gc.get_objects()) - before


if __name__ == "__main__":
    sys.exit(main())
