"""Measure how much of a slow network's delay reduction ``overlap`` hides.

    python -m scripts.measure_overlap [--delay 0.002] [--steps 60]

Starts itself on two ranks.  Messages are delayed one after the other, as on a network of low
bandwidth: those of a step by ``--delay`` seconds, each in proportion to its size.  The single
Allreduce of ``allreduce`` has the same delay, so that both reductions wait for the same bytes.
Rounds alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from scripts.bench import launcher

ROUNDS = 9
NETWORK = "net-2h"
BATCH = 1024


class SlowRequest:
    """A request that completes at the time ``due``, even if the message arrives earlier."""

    def __init__(self, request: Any, due: float) -> None:
        self._request, self._due = request, due

    def Test(self) -> bool:  # noqa: N802  (MPI's name)
        """Return whether the request is complete."""
        return bool(self._request.Test()) and time.perf_counter() >= self._due

    def Wait(self) -> None:  # noqa: N802  # mpi4py's name
        """Sleep until the request is complete: a network needs no core."""
        self._request.Wait()
        time.sleep(max(0.0, self._due - time.perf_counter()))


class SlowComm:
    """A communicator over a network that takes ``seconds_per_byte`` for one message at a time."""

    def __init__(self, comm: Any, seconds_per_byte: float) -> None:
        self._comm, self._pace, self._free = comm, seconds_per_byte, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def Allreduce(self, *arguments: Any) -> None:  # noqa: N802  # mpi4py's name
        """Sum over the ranks and wait; collective."""
        self.Iallreduce(*arguments).Wait()

    def Iallreduce(self, *arguments: Any) -> SlowRequest:  # noqa: N802  # mpi4py's name
        """Start to sum over the ranks; collective."""
        begin = max(self._free, time.perf_counter())
        self._free = begin + arguments[1].nbytes * self._pace
        return SlowRequest(self._comm.Iallreduce(*arguments), self._free)


def steps(trainer: Any, count: int) -> float:
    """Return the mean seconds of a step over ``count`` steps; collective."""
    trainer.comm.Barrier()
    start = time.perf_counter()
    for step in range(count):
        trainer.reduction.step(1, step, 0.01)
    return (time.perf_counter() - start) / count


def measure(options: argparse.Namespace) -> None:
    """Time ``allreduce`` and ``overlap`` with and without the delay, in turn; collective."""
    from threadpoolctl import threadpool_limits

    from hpcpgd.machine import jit_cache
    from hpcpgd.machine.resources import find_blas
    from hpcpgd.parallel import mpi
    from hpcpgd.train.warmup import warm_up
    from scripts.bench.contestants import make_trainer_of
    from scripts.bench.placement import Cores
    from scripts.bench.setting import Setting, load_data, make_network

    ranks = mpi.join(mpi.start())
    jit_cache.share_folder(ranks)
    network, data, blas = make_network(NETWORK), load_data(), find_blas("gemm")
    threadpool_limits(1, user_api="blas")  # as in the program
    Cores(ranks.rank).pin()
    pace = options.delay / (network.size * network.itemsize)
    times: dict[tuple[str, bool], list[float]] = {}
    trainers = {}
    with ExitStack() as threads:
        for name in ("allreduce", "overlap"):
            for slow in (False, True):
                comm = SlowComm(ranks.comm, pace) if slow else ranks.comm
                setting = Setting(comm, data, network, BATCH, blas, threads)
                trainers[name, slow] = make_trainer_of("gemm", setting, 1, name)
                warm_up(trainers[name, slow])
                trainers[name, slow].reduction.prepare()
        for _ in range(ROUNDS):
            for key, trainer in trainers.items():
                seconds = mpi.allreduce_max(ranks.comm, steps(trainer, options.steps))
                times.setdefault(key, []).append(seconds)
    if ranks.rank == 0:
        report(options.delay, {key: statistics.median(values) for key, values in times.items()})
    mpi.leave(ranks)
    mpi.finish()


def report(delay: float, medians: dict[tuple[str, bool], float]) -> None:
    """Print the median times of steps and the share of the delay that was hidden."""
    print(f"{NETWORK}, batch {BATCH}, 2 ranks; {1e3 * delay:g} ms of delay a step added")
    for name in ("allreduce", "overlap"):
        without, with_delay = medians[name, False], medians[name, True]
        hidden = 1 - (with_delay - without) / delay
        print(
            f"{name:10} {1e3 * without:7.2f} ms a step, {1e3 * with_delay:7.2f} ms with the "
            f"delay: {hidden:6.1%} of it hidden"
        )
    quotient = medians["overlap", False] / medians["allreduce", False]
    word = "pays" if quotient < 1 else "does not pay"
    print(f"without the delay overlap {word}: {quotient:.3f} times the step of allreduce")


def main(argv: Sequence[str]) -> int:
    """Measure on two ranks and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--delay", type=float, default=0.01, help="seconds of delay per step")
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    options = parser.parse_args(argv)
    if launcher.MARK not in os.environ:
        return launcher.relaunch(("-m", "scripts.measure_overlap", *argv))
    measure(options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
