"""Check the GPU backends against reference, then compare their times with PyTorch and JAX.

    python -m scripts.check_gpu [--quick] [--only PART] [--network NAME] [--output FILE.json]

Needs a GPU, CuPy, mpi4py, h5py, numba and threadpoolctl.  PyTorch, JAX and mpiexec are used if
they are installed, else reported as absent.  The exit code is 1 if a comparison with reference
fails.  The results so far are written after each part and each timed cell.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hpcpgd.cli.launcher import complain
from hpcpgd.errors import HpcpgdError, UsageError
from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi

BATCHES = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
CPU_BATCHES = (128, 16384)
ODD_BATCHES = (128, 1024, 16384)
QUICK_BATCHES = (32,)
NETWORKS = ("net-1h", "net-2h", "784-1000-10")
PARTS = ("kernels", "curves", "ranks", "timing")
CPU_ROUNDS = 3


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each contestant")
    parser.add_argument("--quick", action="store_true", help="only test that everything runs")
    add = parser.add_argument
    add("--only", action="append", choices=PARTS, help="repeatable; default: all")
    add(
        "--network", action="append", choices=NETWORKS, help="to be timed; repeatable; default: all"
    )
    parser.add_argument(
        "--output", type=Path, help="default: scripts/results/MACHINE-DATE/check_gpu.json"
    )
    parser.add_argument("--ranks-part", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error(f"--rounds: expected a whole number from 1, got {options.rounds}")
    return options


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    world = mpi.start()
    ranks = mpi.join(world)
    try:
        jit_cache.share_folder(ranks)
        code = _run(ranks, options)
        mpi.leave(ranks)
    except HpcpgdError as error:
        code = complain("check_gpu", error, world.rank == 0)
    except BaseException as error:
        mpi.abort_with_traceback(world, error)
    mpi.finish()
    return code


def _run(ranks: mpi.Ranks, options: argparse.Namespace) -> int:
    from scripts.gpu.ranks import part

    if options.ranks_part:
        part(ranks, options.ranks_part)
        return 0
    if ranks.size > 1:
        raise UsageError(f"started on {ranks.size} ranks: start one, it starts the others")
    return Check(ranks, options).run()


class Check:
    """The parts in their order, with the results so far."""

    def __init__(self, ranks: mpi.Ranks, options: argparse.Namespace) -> None:
        from hpcpgd.machine.gpu import claim_gpu
        from scripts import findings
        from scripts.gpu import report

        self.ranks, self.options, self.report = ranks, options, report
        self.gpu = claim_gpu(ranks, "cuda")
        self.path = options.output or findings.default_path("check_gpu", self.gpu.model)
        self.findings: list[Any] = []
        self.cells: list[Any] = []

    def run(self) -> int:
        """Run the parts; return the exit code."""
        from scripts.gpu.claims import claims

        report = self.report
        print(f"{self.gpu.describe()}; {self.gpu.device.versions}", flush=True)
        for part in self.options.only or PARTS:
            getattr(self, f"_{part}")()
            self._keep()
            print(f"{part}: {report.findings_table(self.findings)}", flush=True)
        if self.cells:
            print(report.timing_table(self.cells), flush=True)
            print(report.claims_table(claims(self.cells)), flush=True)
        print(f"results  {self.path}", flush=True)
        return 0 if all(f.right for f in self.findings) else 1

    def _keep(self) -> None:
        from scripts import findings

        findings.write(self.path, self.report.found_on(self.gpu, self.findings, self.cells))

    def _kernels(self) -> None:
        from scripts.gpu.kernels import check_kernels

        self.findings += check_kernels(self.gpu.device, self.options.quick)

    def _curves(self) -> None:
        from scripts.gpu.curves import check_curves

        self.findings += check_curves(self.ranks.comm, self.gpu)

    def _ranks(self) -> None:
        from hpcpgd.study.launchers import mpiexec_here
        from scripts.gpu.curves import make, trained
        from scripts.gpu.ranks import WAYS, check_ranks

        if mpiexec_here() is None:
            print("several ranks: not run, there is no mpiexec", flush=True)
            return
        comm, gpu = self.ranks.comm, self.gpu
        alone = {way[0]: trained(make(comm, "digits", way, gpu)) for way in WAYS}
        self.findings += check_ranks(alone)

    def _timing(self) -> None:
        from scripts.bench.setting import load_data

        dataset = load_data()
        for name in self.options.network or NETWORKS:
            batches: tuple[int, ...] = BATCHES if name != NETWORKS[-1] else ODD_BATCHES
            if self.options.quick:
                batches = QUICK_BATCHES if name == NETWORKS[0] else ()
            for batch, precision in product(batches, ("float32", "tf32")):
                self._time(dataset, name, batch, precision)
                self._keep()
                print(f"timed {name} batch {batch} {precision}", file=sys.stderr, flush=True)

    def _time(self, dataset: Any, name: str, batch: int, precision: str) -> None:
        from hpcpgd.kernels.core.network import Network
        from scripts.bench.setting import Setting, make_network
        from scripts.gpu.contestants import contestants
        from scripts.gpu.floors import Products, cpu_loops
        from scripts.gpu.timing import QUICK_SECONDS, SECONDS, Cell, make_runners, time_cell

        network = make_network(name) if name.startswith("net") else Network((784, 1000, 10))
        setting = Setting(self.ranks.comm, dataset, network, batch, None)
        cell = Cell(name, batch, precision, network.flops_per_example)
        runners, findings = make_runners(cell, setting, contestants(self.gpu, precision))
        self.findings += findings
        self.cells.append(cell)
        quick = self.options.quick
        rounds, target = (2, QUICK_SECONDS) if quick else (self.options.rounds, SECONDS)
        bare = Products(self.gpu.device, network, batch, precision)
        time_cell(cell, {**runners, "cuBLAS alone": bare}, rounds, target)
        # In a separate round: a GPU that is idle for seconds slows down.
        if precision == "float32" and batch in CPU_BATCHES and name == NETWORKS[0]:
            with cpu_loops(setting) as loops:
                time_cell(cell, loops, CPU_ROUNDS, target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
