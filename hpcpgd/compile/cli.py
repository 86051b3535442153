"""``python -m hpcpgd.compile``: fill the kernel cache before jobs start."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from hpcpgd.cli.launcher import guarded, say
from hpcpgd.cli.parser import OneLineParser
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.errors import OutputError, UsageError, nearest
from hpcpgd.kernels.backends.registry import BACKENDS, TILE_PARTS

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI

PROGRAM = "hpcpgd compile"
DESCRIPTION = """Compile all kernels that jobs on this kind of processor can need, and keep them in
$NUMBA_CACHE_DIR, or in the user's cache if that is not set.  Run it on the first line of a job,
or in the build of a container image, whose cache may then be read-only.  Under mpirun the ranks
of a node share the work."""
EPILOG = """Exit code: 0 done, 2 wrong flag, 69 no BLAS, 74 the folder cannot be written."""


class Variant(NamedTuple):
    """The options of a training run whose kernels differ from those of other variants."""

    backend: str
    reduction: str
    threads: int
    optimizer: str
    dtype: str
    precision: str
    features: str


COMPILED = [name for name in REDUCTIONS["allreduce"].backends if not BACKENDS[name].on_device]
DTYPES = ("float32", "float64")
# Of products; all precisions on tiles share their kernels.
PRECISIONS = {"float32": ("float32", "bf16"), "float64": ("float64",)}
FEATURES = ("uint8", "float32", "float64")


def variants(backends: Sequence[str], dtypes: Sequence[str]) -> list[Variant]:
    """Return the variants that together call every kernel."""
    ways = [(name, "allreduce", 2 if BACKENDS[name].own_threads else 1, "sgd") for name in COMPILED]
    # Schedules differ between reductions, but the kernels that execute them do not.
    unscheduled = [name for name in COMPILED if not BACKENDS[name].scheduled]
    ways += [(name, "reproducible", 1, "sgd") for name in unscheduled if BACKENDS[name].units]
    # A schedule's kernel holds the update; elsewhere all rules but that of sgd are one kernel.
    ways += [(name, "allreduce", 1, "adam") for name in unscheduled]
    return [
        Variant(*way, dtype, precision, features)
        for way in ways if way[0] in backends
        for dtype in dtypes
        for precision in PRECISIONS[dtype] if precision in BACKENDS[way[0]].precisions
        for features in FEATURES
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd compile`` and return its exit code.  Collective over all ranks."""
    return guarded(PROGRAM, lambda: _run(_parse(argv)))


def _parse(argv: Sequence[str] | None) -> list[Variant]:
    parser = OneLineParser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    for flag, names in (("--backend", COMPILED), ("--dtype", DTYPES)):
        parser.add_argument(
            flag,
            action="append",
            metavar="NAME",
            help=f"{', '.join(names)}; may be given several times (default: all)",
        )
    options = parser.parse_args(argv)
    chosen = []
    for flag, names in (("backend", COMPILED), ("dtype", DTYPES)):
        words = getattr(options, flag) or names
        for word in words:
            if word not in names:
                raise UsageError(
                    f"--{flag} {word}: expected one of {', '.join(names)}{nearest(word, names)}"
                )
        chosen.append(words)
    return variants(*chosen)


def _run(wanted: list[Variant]) -> int:
    from hpcpgd.train.job import on_world

    return on_world(PROGRAM, lambda world: fill(world, wanted))


def fill(comm: MPI.Comm, wanted: Sequence[Variant]) -> None:
    """Compile the kernels of the variants, divided over the ranks of each node; collective.

    Raises
    ------
    OutputError
        On every rank, if the folder of a node cannot be written.
    """
    import numpy as np

    from hpcpgd.kernels.core.kernel_files import DISK, SUFFIX
    from hpcpgd.machine import jit_cache
    from hpcpgd.parallel import mpi

    begin = perf_counter()
    ranks = mpi.join(comm)
    folders = jit_cache.share_folder(ranks)
    with mpi.agreed(ranks.comm):
        if folders.reason:
            raise OutputError(f"{folders.shared or 'no cache'}: {folders.reason}")
        alone = mpi.join(mpi.MPI.COMM_SELF)
        for variant in list(wanted)[ranks.node.rank :: ranks.node.size]:
            _compile(alone, variant)
        mpi.leave(alone)
        if DISK.unkept:
            raise OutputError(DISK.unkept)
    compiled = np.array([DISK.compiled], np.int64)
    mpi.allreduce_sum(ranks.comm, compiled)
    if ranks.rank == 0:
        held = len([*Path(folders.shared).glob(f"*{SUFFIX}")])
        seconds = perf_counter() - begin
        say(f"{compiled[0]} kernels compiled in {seconds:.0f} s; {folders.shared} holds {held}")
    mpi.leave(ranks)


def _compile(alone: Any, variant: Variant) -> None:
    """Create the trainer of one variant with a few rows, and call all its kernels."""
    from hpcpgd.config.run_config import RunConfig
    from hpcpgd.data import load, prepare
    from hpcpgd.engines.parameters import initial_parameters, make_network
    from hpcpgd.kernels.tiles.amx import refusal
    from hpcpgd.machine.resources import Resources, find_blas
    from hpcpgd.parallel.groups import Arena, make_group
    from hpcpgd.train.planning import make_trainer
    from hpcpgd.train.warmup import warm_up

    backend, reduction, threads, optimizer, dtype, precision, features = variant
    if precision in TILE_PARTS and refusal():
        return  # no job on this processor can need them
    config = RunConfig(
        backend=backend, reduction=reduction, threads=threads, optimizer=optimizer, dtype=dtype,
        matmul_precision=precision, learning_rate=1.0,
    )  # fmt: skip
    dataset = prepare(load("digits", seed=0), seed=0, train_rows=8, test_fraction=None)
    split = dataset.train
    dataset = replace(dataset, train=replace(split, features=split.features.astype(features)))
    network = make_network(config, dataset.n_in, dataset.n_out)
    resources = Resources(threads, False, find_blas(backend))
    arena = Arena(alone, make_group(alone, None)) if REDUCTIONS[reduction].grouped else None
    trainer = make_trainer(
        alone.comm, config, dataset, network, initial_parameters(network, 0), resources, None, arena
    )
    with closing(trainer):
        warm_up(trainer)
