"""Measure the cost of a run's clock: readings per step, times the cost of one, over the step.

    python -m scripts.check_timers [--quick]

Counts the calls in steps of the program on one rank, and times an empty call.  The exit code
is 1 if they take more than 1 % of a step of Net-1h at batch 128.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi

BOUND = 0.01
CALLS = 20_000


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few steps")
    steps = 10 if parser.parse_args().quick else 200
    world = mpi.start()
    jit_cache.share_folder(mpi.join(world))
    share, readings, cost, step = measure(steps)
    print(
        f"{readings:g} readings a step x {1e9 * cost:.0f} ns = {100 * share:.3f} % "
        f"of a step of {1e3 * step:.2f} ms (Net-1h, batch 128, 1 rank; the limit is 1 %)"
    )
    mpi.finish()
    return 0 if share <= BOUND else 1


def measure(steps: int) -> tuple[float, float, float, float]:
    """Return share, readings per step, seconds of a reading, median seconds of a step."""
    from threadpoolctl import threadpool_limits

    from hpcpgd.machine.resources import find_blas
    from hpcpgd.parallel.phase_names import COMPUTE
    from hpcpgd.train.warmup import warm_up
    from scripts.bench.contestants import make_trainer_of
    from scripts.bench.setting import RATE, Setting, load_data, make_network

    blas, network = find_blas("gemm"), make_network("net-1h")
    setting = Setting(mpi.MPI.COMM_SELF, load_data(), network, 128, blas)
    trainer = make_trainer_of("gemm", setting, 1)
    threadpool_limits(1, user_api="blas")  # as in the program
    warm_up(trainer)
    clock, calls = trainer.clock, [0]
    times = []
    for number in range(steps):
        start = perf_counter()
        trainer.reduction.step(1, number, RATE)
        times.append(perf_counter() - start)
    start = perf_counter()
    for _ in range(CALLS):
        clock.lap(COMPUTE)
    cost = (perf_counter() - start) / CALLS
    for name in ("begin_step", "lap", "lap_reduction", "end_reduction"):
        setattr(clock, name, _counted(getattr(clock, name), calls))
    trainer.reduction.step(1, 0, RATE)
    step = float(np.median(times))
    return calls[0] * cost / step, float(calls[0]), cost, step


def _counted(inner: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        return inner(*arguments, **options)

    return call


if __name__ == "__main__":
    sys.exit(main())
