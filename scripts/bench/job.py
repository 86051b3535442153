"""The benchmark on its two ranks: build, verify, time, report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi

Measure = Callable[[mpi.Ranks, Any, argparse.Namespace], None]
SECONDS = 0.2  # time of a cell in a round
QUICK_SECONDS = 0.01
QUICK_ROUNDS = 2
MISMATCH = 1
TOO_FEW = 69


def run(options: argparse.Namespace, measure: Measure | None = None) -> int:
    """Run a benchmark, by default ``_measure``, and return the exit code; collective."""
    world = mpi.start()
    ranks = mpi.join(world)
    try:
        jit_cache.share_folder(ranks)
        code = _run(ranks, options, measure or _measure)
        mpi.leave(ranks)
    except BaseException as error:
        mpi.abort_with_traceback(world, error)
    mpi.finish()
    return code


def _run(ranks: mpi.Ranks, options: argparse.Namespace, measure: Measure) -> int:
    from hpcpgd.errors import HpcpgdError
    from scripts.bench.placement import Cores
    from scripts.bench.verify import MismatchError

    cores = Cores(ranks.rank)
    if ranks.size != 2 or cores.count < 2:
        return _complain(ranks, "two ranks on one machine with two cores are needed", TOO_FEW)
    cores.pin()
    try:
        measure(ranks, cores, options)
    except MismatchError as error:
        return _complain(ranks, str(error), MISMATCH)
    except HpcpgdError as error:
        if not error.agreed:
            raise
        return _complain(ranks, str(error), error.exit_code)
    return 0


def _complain(ranks: mpi.Ranks, text: str, code: int) -> int:
    if ranks.rank == 0:
        print(f"bench_train: {text}", file=sys.stderr, flush=True)
    return code


def _measure(ranks: mpi.Ranks, cores: Any, options: argparse.Namespace) -> None:
    from threadpoolctl import threadpool_limits

    from hpcpgd.kernels.tiles.amx import refusal
    from hpcpgd.machine.resources import find_blas
    from scripts import findings
    from scripts.bench import report
    from scripts.bench.peers import PEERS, TILED, Peers
    from scripts.bench.sections import Builder

    blas = find_blas("gemm")
    # As in the program, which divides products itself: the BLAS uses one thread.
    threadpool_limits(1, user_api="blas")
    alone = ranks.comm.Split(ranks.rank)
    wanted = QUICK_ROUNDS if options.quick else options.rounds
    programs = PEERS if refusal() else PEERS + TILED
    with Peers(ranks.comm, cores, options.peers_python, programs) as peers, ExitStack() as threads:
        peers.start()
        batches = options.batches[:1] if options.quick else options.batches
        builder = Builder(ranks.comm, alone, cores, blas, peers.entries(), threads, batches)
        sections = builder.all_sections()
        path = options.output or findings.default_path("bench_train")

        def keep() -> dict[str, Any]:
            found = report.results(sections, builder.errors, blas, cores, wanted, peers)
            findings.write(path, found)
            return found

        seconds = QUICK_SECONDS if options.quick else SECONDS
        time_rounds(ranks, cores, sections, wanted, seconds, keep)
    if ranks.rank == 0:
        print(report.table(keep()), flush=True)
    alone.Free()


def time_rounds(
    ranks: mpi.Ranks, cores: Any, sections: Any, wanted: int, target: float,
    keep: Callable[[], Any],
) -> None:  # fmt: skip
    """Choose the steps of every cell, about ``target`` seconds, and time the rounds.

    Rank 0 calls ``keep`` after each round.
    """
    from hpcpgd.machine.fma_peak import Peak
    from scripts.bench.rounds import Stopwatch, run_rounds

    watch = Stopwatch(ranks.comm, cores, Peak(), target)
    for section in sections:
        for cell in section.cells:
            watch.calibrate(cell)
    run_rounds(watch, sections, wanted, keep if ranks.rank == 0 else None)
