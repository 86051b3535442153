"""Where a trap can be laid in a run: at its fault points, and at calls of the system."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcpgd.cli.launcher import launcher_rank
from hpcpgd.environment.fault_points import hooks

if TYPE_CHECKING:
    from tests.faults.victim import Trap

Lay = Callable[["Trap"], None]
COMPLETE = "complete"


def _at(point: str) -> Lay:
    """Lay a trap at a fault point of hpcpgd."""

    def lay(trap: Trap) -> None:
        hooks[point] = lambda *_: trap.step_on()

    return lay


def _writing(trap: Trap) -> None:
    """In the middle of a file."""

    def half(file: Any, data: Any) -> None:
        if trap.sprung():
            file.write(memoryview(data)[: len(data) // 2])
            file.flush()
            trap.spring()

    hooks["file"] = half


def _fsync(trap: Trap) -> None:
    os.fsync = trap.before(os.fsync)


def _before_rename(trap: Trap) -> None:
    Path.replace = trap.before(Path.replace)  # type: ignore[method-assign]  # the fault


def _after_rename(trap: Trap) -> None:
    Path.replace = trap.after(Path.replace)  # type: ignore[method-assign]  # the fault


def _checkpoint(trap: Trap) -> None:
    """In the pause: on rank 0 before it writes the file, on others while they wait for it."""
    _at("checkpoint file" if launcher_rank() == 0 else "checkpoint")(trap)


def _run_file(trap: Trap) -> None:
    """As the file of the complete run is written, or, on others, waited for."""

    def complete(status: str) -> None:
        if status == COMPLETE:
            trap.step_on()

    hooks["run file"] = complete


PLACES: dict[str, Lay] = {
    **{
        name: _at(name)
        for name in (
            "import", "start", "parsing", "dataset", "planning", "compiling", "validation",
            "test", "exit", "file", "loading",
        )
    },
    "reducing": _at("step"),
    "checkpoint": _checkpoint,
    "run file": _run_file,
    "writing": _writing,
    "before fsync": _fsync,
    "before rename": _before_rename,
    "after rename": _after_rename,
}  # fmt: skip
