"""``python victim.py RANK PHASE NUMBER WORDS``: hpcpgd train, one rank of which kills itself.

It sends itself SIGKILL when it comes to ``PHASE`` for the ``NUMBER``-th time, or, if the phase
is ``time``, ``NUMBER`` milliseconds after it began.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcpgd import train
from hpcpgd.launch import launcher_rank

TIME = "time"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Trap:
    """Kills at the ``number``-th call, before it, in its middle or after it."""

    def __init__(self, number: int) -> None:
        self.left = number

    def sprung(self) -> bool:
        """Count a call; return whether it is the one."""
        self.left -= 1
        return self.left == 0

    def before(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``inner`` with the trap before it."""

        def outer(*arguments: Any, **named: Any) -> Any:
            if self.sprung():
                die()
            return inner(*arguments, **named)

        return outer

    def after(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``inner`` with the trap behind it."""

        def outer(*arguments: Any, **named: Any) -> Any:
            found = inner(*arguments, **named)
            if self.sprung():
                die()
            return found

        return outer


def set_trap(phase: str, number: int) -> None:
    """Let this process die in ``phase``."""
    from hpcpgd.checkpoint import folder
    from hpcpgd.data import hdf5
    from hpcpgd.results import atomic

    trap = Trap(number)
    if phase == "writing":
        put = atomic._put

        def half(file: Any, data: Any) -> None:
            if trap.sprung():
                file.write(memoryview(data)[: len(data) // 2])
                file.flush()
                die()
            put(file, data)

        atomic._put = half
    elif phase == "before fsync":
        os.fsync = trap.before(os.fsync)
    elif phase == "before rename":
        Path.replace = trap.before(Path.replace)  # type: ignore[method-assign]  # the fault
    elif phase == "after rename":
        Path.replace = trap.after(Path.replace)  # type: ignore[method-assign]  # the fault
    elif phase == "parsing":
        hdf5.read = trap.before(hdf5.read)
    elif phase == "loading":
        folder.load = trap.after(folder.load)
    else:
        _trap_reduction(trap)


def _trap_reduction(trap: Trap) -> None:
    """Let the rank die where all ranks of a group are to meet within a step."""
    from hpcpgd import session

    inner = session.compile_kernels

    def compiled(ranks: Any, trainer: Any, gpu: Any) -> float:
        seconds = inner(ranks, trainer, gpu)
        trainer.reduction.step = trap.before(trainer.reduction.step)
        return seconds

    session.compile_kernels = compiled


def _later(milliseconds: int) -> None:
    time.sleep(milliseconds / 1000)
    die()


def main(argv: list[str]) -> int:
    rank, phase, number, *words = argv
    if launcher_rank() == int(rank):
        if phase == TIME:
            threading.Thread(target=_later, args=(int(number),), daemon=True).start()
        else:
            set_trap(phase, int(number))
    return train.main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
