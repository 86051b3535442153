"""Where a trap can be laid in a run; the functions that are replaced are those of hpcpgd."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcpgd.cli.launcher import launcher_rank

if TYPE_CHECKING:
    from faults.victim import Trap

Lay = Callable[["Trap"], None]
COMPLETE = "complete"


def later(lay: Lay) -> Lay:
    """Lay a trap only when MPI has started and compiled kernels have their folder."""

    def wait(trap: Trap) -> None:
        from hpcpgd.machine import jit_cache

        share = jit_cache.share_folder

        def shared(ranks: Any) -> Any:
            folders = share(ranks)
            lay(trap)
            return folders

        jit_cache.share_folder = shared

    return wait


def _at(module: str, name: str, side: str) -> Lay:
    """Lay a trap before or after ``name`` (perhaps a class's) of a module of hpcpgd."""

    def lay(trap: Trap) -> None:
        *owners, last = name.split(".")
        owner: Any = importlib.import_module(f"hpcpgd.{module}")
        for part in owners:
            owner = getattr(owner, part)
        setattr(owner, last, getattr(trap, side)(getattr(owner, last)))

    return lay


def _import(trap: Trap) -> None:
    """Let the import of the module that starts MPI fail."""

    class Finder:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "hpcpgd.train.job" and trap.sprung():
                trap.spring()

    sys.meta_path.insert(0, Finder())


def _writing(trap: Trap) -> None:
    """In the middle of a file."""
    atomic: Any = importlib.import_module("hpcpgd.results.atomic")
    put = atomic._put

    def half(file: Any, data: Any) -> None:
        if trap.sprung():
            file.write(memoryview(data)[: len(data) // 2])
            file.flush()
            trap.spring()
        put(file, data)

    atomic._put = half


def _fsync(trap: Trap) -> None:
    os.fsync = trap.before(os.fsync)


def _before_rename(trap: Trap) -> None:
    Path.replace = trap.before(Path.replace)  # type: ignore[method-assign]  # the fault


def _after_rename(trap: Trap) -> None:
    Path.replace = trap.after(Path.replace)  # type: ignore[method-assign]  # the fault


def _step(trap: Trap) -> None:
    """Where all ranks of a group are to meet within a step."""
    session: Any = importlib.import_module("hpcpgd.train.session")
    inner = session.compile_kernels

    def compiled(ranks: Any, trainer: Any, gpu: Any) -> float:
        seconds: float = inner(ranks, trainer, gpu)
        trainer.reduction.step = trap.before(trainer.reduction.step)
        return seconds

    session.compile_kernels = compiled


def _checkpoint(trap: Trap) -> None:
    """In the pause: on rank 0 while it writes, on others while they wait for it."""
    if launcher_rank() == 0:
        _at("checkpoint.checkpoint_folder", "seal", "before")(trap)
        return
    session: Any = importlib.import_module("hpcpgd.train.session")
    timer = session.CheckpointTimer
    session.CheckpointTimer = lambda *most: timer(*most[:-1], trap.before(most[-1]))


def _run_file(trap: Trap) -> None:
    """As the file of the complete run is written, or, on others, waited for."""
    writer: Any = importlib.import_module("hpcpgd.train.writer")
    inner = writer.Writer.write

    def write(self: Any) -> None:
        if self.record.status == COMPLETE and trap.sprung():
            trap.spring()
        inner(self)

    writer.Writer.write = write


PLACES: dict[str, Lay] = {
    "import": _import,
    "start": _at("parallel.mpi", "start", "after"),
    "parsing": _at("data.hdf5", "_opened", "before"),
    "dataset": later(_at("train.session", "load_on_all", "before")),
    "planning": later(_at("train.session", "make_trainer", "before")),
    "compiling": later(_at("train.warmup", "_warm_up_on", "before")),
    "reducing": later(_step),
    "checkpoint": later(_checkpoint),
    "validation": later(_at("train.training_loop", "Trainer.validate", "before")),
    "test": later(_at("train.training_loop", "Trainer.test", "before")),
    "run file": later(_run_file),
    "exit": _at("parallel.mpi", "finish", "before"),
    "file": _at("results.atomic", "_put", "before"),
    "writing": _writing,
    "before fsync": _fsync,
    "before rename": _before_rename,
    "after rename": _after_rename,
    "loading": _at("checkpoint.checkpoint_folder", "load", "after"),
}
