"""Measure how often the ranks of a node hold a dataset's pixels and the parameters.

    python -m scripts.measure_memory [--dataset fashion-mnist] [--ranks 4]

Starts itself under mpiexec.  The kernel's proportional set size of an array's pages is added up
over the ranks: a page that n processes share counts 1/n in each.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.study.launchers import mpiexec_here

PAGE = mmap.PAGESIZE
DONTDUMP = 16  # MADV_DONTDUMP
MEASURED = ("allreduce", "shared", "reproducible")


def proportional_bytes(array: Any) -> int:
    """Return this process's share of the whole pages of ``array``, in bytes."""
    begin = -(-array.ctypes.data // PAGE) * PAGE
    end = (array.ctypes.data + array.nbytes) // PAGE * PAGE
    # The kernel counts by mapping and merges adjacent ones with equal flags: set another flag.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), DONTDUMP):
        raise OSError(ctypes.get_errno(), "madvise")
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        first = line.split(maxsplit=1)[0]
        if "-" in first and not first.endswith(":"):
            inside = begin <= int(first.split("-")[0], 16) < end
        elif inside and first == "Pss:":
            total += int(line.split()[1]) * 1024
    return total


def held(ranks: Any, dataset_name: str, reduction: str) -> dict[str, tuple[int, int]]:
    """Return the size of each array and the bytes that all ranks hold of it; collective."""
    from hpcpgd.config.reduction_table import REDUCTIONS
    from hpcpgd.config.run_config import RunConfig
    from hpcpgd.engines.parameters import initial_parameters, make_network
    from hpcpgd.machine.resources import Resources, find_blas
    from hpcpgd.parallel import mpi
    from hpcpgd.parallel.groups import Arena, make_group
    from hpcpgd.train.distribute import load_on_all
    from hpcpgd.train.planning import make_trainer

    config = RunConfig(
        dataset=dataset_name, hidden=(1024, 1024), dtype="float32", matmul_precision="float32",
        batch_size=128, reduction=reduction, max_steps=3, epochs=1, learning_rate=1.0,
    )  # fmt: skip
    arena = Arena(ranks, make_group(ranks, None)) if REDUCTIONS[reduction].grouped else None
    dataset = load_on_all(ranks, config, arena)
    network = make_network(config, dataset.n_in, dataset.n_out)
    trainer = make_trainer(
        ranks.comm, config, dataset, network, initial_parameters(network, 0),
        Resources(1, True, find_blas("gemm")), arena=arena,
    )  # fmt: skip
    sizes = {}
    with closing(trainer):
        trainer.run(1, lambda number, epoch: None)
        arrays = {"pixels": dataset.train.features, "parameters": trainer.engine.parameters}
        for name, array in arrays.items():
            array.sum()  # a page that was never read is in no process's memory
            ranks.comm.Barrier()
            total = np.array([proportional_bytes(array)])
            mpi.allreduce_sum(ranks.comm, total)
            sizes[name] = (array.nbytes, int(total[0]))
    return sizes


def measure(dataset: str) -> None:
    """Print, for each reduction, how much the ranks hold; collective."""
    from hpcpgd.machine import jit_cache
    from hpcpgd.parallel import mpi

    ranks = mpi.join(mpi.start())
    jit_cache.share_folder(ranks)
    for reduction in MEASURED:
        sizes = held(ranks, dataset, reduction)
        if ranks.rank == 0:
            for name, (size, total) in sizes.items():
                print(
                    f"{reduction:12} {ranks.size} ranks hold {total / 2**20:7.1f} MiB of "
                    f"{size / 2**20:6.1f} MiB {name}: {total / size:.2f} times",
                    flush=True,
                )
    mpi.finish()


def main(argv: Sequence[str]) -> int:
    """Measure on ``--ranks`` ranks and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--dataset", default="fashion-mnist")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    mpiexec = mpiexec_here()
    if options.rank:
        measure(options.dataset)
    elif mpiexec is None:
        print("measure_memory: no mpiexec beside this Python or on the path", file=sys.stderr)
        return 69
    else:
        program = ("-m", "scripts.measure_memory", "--rank", *argv)
        command = [mpiexec, "-n", str(options.ranks), sys.executable, *program]
        return subprocess.run(command, check=False, timeout=600).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
