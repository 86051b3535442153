"""Time Adam's step beside that of gradient descent and, on request, beside Adam of JAX and optax.

    python -m scripts.bench_optimisers [--rounds 15] [--quick] [--output FILE.json]
        [--peers-python PYTHON]

PYTHON is an interpreter with jax and optax.  The program starts itself on two ranks, which share
memory; JAX has two threads.  Rounds, and which of them count, are those of ``bench_train``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from scripts.bench import launcher
from scripts.bench_train import parse

if TYPE_CHECKING:  # imports MPI, which the process that starts the ranks must not
    from hpcpgd.parallel import mpi
    from scripts.bench.placement import Cores
    from scripts.bench.rounds import Section

BATCH, QUICK_BATCH = 1024, 128


def measure(ranks: mpi.Ranks, cores: Cores, options: argparse.Namespace) -> None:
    """Time both networks and print the ratios; collective."""
    from threadpoolctl import threadpool_limits

    from hpcpgd.machine.resources import find_blas
    from scripts import findings
    from scripts.bench import job
    from scripts.bench.peers import PROGRAMS, Peer, Peers
    from scripts.bench.placement import TWO_THREADS
    from scripts.bench.setting import load_data

    blas, dataset = find_blas("gemm"), load_data()
    threadpool_limits(1, user_api="blas")
    wanted = job.QUICK_ROUNDS if options.quick else options.rounds
    peer = Peer("JAX and optax", PROGRAMS / "jax_jit.py", ("adam",), (TWO_THREADS,))
    with Peers(ranks.comm, cores, options.peers_python, (peer,)) as peers, ExitStack() as stack:
        peers.start()
        batch = QUICK_BATCH if options.quick else BATCH
        common = (dataset, blas, stack, batch)
        sections = [_section(ranks, cores, name, common, peers) for name in ("net-1h", "net-2h")]
        seconds = job.QUICK_SECONDS if options.quick else job.SECONDS
        path = options.output or findings.default_path("bench_optimisers")
        about = findings.about("bench_optimisers") | {"peers": peers.software}

        def keep() -> None:
            findings.write(path, about | _results(sections))

        job.time_rounds(ranks, cores, sections, wanted, seconds, keep)
    if ranks.rank == 0:
        keep()
        print(*(f"{name}: {found}" for name, found in _results(sections).items()), sep="\n")


def _section(
    ranks: mpi.Ranks, cores: Cores, name: str, common: tuple[Any, ...], peers: Any
) -> Section:
    """Return the cells of a network; collective."""
    from scripts.bench.contestants import program
    from scripts.bench.placement import TWO_RANKS
    from scripts.bench.rounds import Cell, Section
    from scripts.bench.setting import Setting, make_network

    dataset, blas, stack, batch = common
    network = make_network(name)
    setting = Setting(ranks.comm, dataset, network, batch, blas, stack)
    cells = [
        Cell(rule, TWO_RANKS, program("gemm", "shared", setting, 1, optimizer=rule))
        for rule in ("sgd", "adam")
    ]
    for contestant, placement in peers.entries():
        with cores.used_by(placement):
            work = contestant.make(setting, placement.threads) if ranks.rank == 0 else None
        cells.append(Cell(contestant.name, placement, work))
    return Section(name, batch, network, cells)


def _results(sections: list[Section]) -> dict[str, Any]:
    """Return times and ratios by network, and print them."""
    from scripts.bench.comparisons import Comparison, ratios, seconds
    from scripts.bench.rounds import all_rounds, best_peaks, kept
    from scripts.bench.summary import spread

    best, results = best_peaks(all_rounds(sections)), dict[str, Any]()
    for section in sections:
        good = kept(section.rounds, best)
        times = {
            cell.name: spread(seconds(section, k, good)) for k, cell in enumerate(section.cells)
        }
        pairs = [("adam over sgd", 1, 0), ("adam over JAX and optax", 1, 2)]
        pairs = pairs[: len(section.cells) - 1]
        rates = {
            text: spread(ratios(section, Comparison(text, a, b), good)) for text, a, b in pairs
        }
        results[section.network] = {
            "batch": section.batch, "rounds_kept": len(good), "seconds_per_60000": times,
            "ratios": rates,
        }  # fmt: skip
    return results


def main(argv: Sequence[str]) -> int:
    """Start the ranks, or be one of them."""
    options = parse(argv)
    if not launcher.launched():
        return launcher.relaunch(("-m", "scripts.bench_optimisers", *argv))
    from scripts.bench import job

    return job.run(options, measure)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
