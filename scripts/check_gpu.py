"""Check the GPU backends against reference, then time them beside PyTorch and JAX.

    python scripts/check_gpu.py [--quick] [--rounds 9] [--output FILE.h5]

Needs a GPU, CuPy, mpi4py, h5py and numba; PyTorch, JAX and mpiexec are used where they are,
and named where they are not.  Exits 1 if a comparison with reference fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpcpgd import jitcache, mpi
from hpcpgd.errors import HpcpgdError
from hpcpgd.launch import complain

BATCHES = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
CPU_BATCHES = (128, 16384)
ODD_BATCHES = (128, 1024, 16384)
QUICK_BATCHES = (32,)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--quick", action="store_true", help="to see that everything runs")
    parser.add_argument(
        "--output", type=Path, help="default: scripts/results/MACHINE-DATE/check_gpu.h5"
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
        jitcache.share_folder(ranks)  # before numba is imported, which most rooms do
        code = _run(ranks, options)
        mpi.leave(ranks)
    except HpcpgdError as error:
        code = complain("check_gpu", error, world.rank == 0)
    except BaseException as error:
        mpi.abort_with_traceback(world, error)
    mpi.finish()
    return code


def _run(ranks: mpi.Ranks, options: argparse.Namespace) -> int:
    from gpu.ranks import part

    if options.ranks_part:
        part(ranks, options.ranks_part)
        return 0
    return _check(ranks, options)


def _check(ranks: mpi.Ranks, options: argparse.Namespace) -> int:
    from gpu import report
    from gpu.claims import claims
    from gpu.kernels import Finding
    from hpcpgd.gpu import claim_gpu

    gpu = claim_gpu(ranks, "cuda")
    print(f"{gpu.describe()}; {gpu.device.library}", flush=True)
    findings: list[Finding] = []
    for found in _comparisons(ranks, gpu, options.quick):
        findings += found
        print(report.findings_table(findings), flush=True)
    cells = _cells(ranks, gpu, options)
    print(report.timing_table(cells), flush=True)
    print(report.claims_table(claims(cells)), flush=True)
    path = options.output or report.default_path(gpu)
    report.write(path, gpu, findings, cells)
    print(f"results  {path}", flush=True)
    return 0 if all(f.right for f in findings) else 1


def _comparisons(ranks: mpi.Ranks, gpu: object, quick: bool) -> Iterable[list]:
    from gpu import curves
    from gpu.kernels import check_kernels
    from gpu.ranks import WAYS, check_ranks, launcher

    yield list(check_kernels(gpu.device, quick))
    yield list(curves.check_curves(ranks.comm, gpu))
    if launcher() is None:
        print("several ranks: not run, there is no mpiexec", flush=True)
        return
    alone = {way[0]: curves.trained(curves.make(ranks.comm, "digits", way, gpu)) for way in WAYS}
    yield list(check_ranks(alone))


def _cells(ranks: mpi.Ranks, gpu: object, options: argparse.Namespace) -> list:
    from bench.setting import Setting, load_data, make_network
    from gpu.contestants import contestants
    from gpu.floors import floors
    from gpu.timing import QUICK_SECONDS, SECONDS, Cell, make_runners, time_cell
    from hpcpgd.kernels.network import Network

    dataset = load_data()
    shapes = {"net-1h": make_network("net-1h"), "net-2h": make_network("net-2h")}
    wanted = [(name, batch) for name in shapes for batch in BATCHES]
    shapes["784-1000-10"] = Network((784, 1000, 10))
    wanted += [("784-1000-10", batch) for batch in ODD_BATCHES]
    if options.quick:
        wanted = [("net-1h", batch) for batch in QUICK_BATCHES]
    rounds, target = (2, QUICK_SECONDS) if options.quick else (options.rounds, SECONDS)
    cells = []
    for name, batch in wanted:
        for precision in ("float32", "tf32"):
            setting = Setting(ranks.comm, dataset, shapes[name], batch, None)
            cell = Cell(name, batch, precision, shapes[name].flops_per_example)
            runners = make_runners(cell, setting, contestants(gpu, precision))
            cpu = precision == "float32" and batch in CPU_BATCHES and name == "net-1h"
            runners |= floors(setting, gpu, precision, cpu)
            time_cell(cell, runners, rounds, target)
            cells.append(cell)
            print(f"timed {name} batch {batch} {precision}", file=sys.stderr, flush=True)
    return cells


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
