"""``python sluggard.py RANK HOW PHASE NUMBER MARK WORDS``: hpcpgd train, one rank of which hangs.

It stops itself with SIGSTOP or sleeps when it comes to ``PHASE`` for the ``NUMBER``-th time;
the file ``MARK`` tells when.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcpgd import train
from hpcpgd.launch import launcher_rank

STOP, SLEEP = "stop", "sleep"


def hang(how: str, mark: Path) -> None:
    """Never come back."""
    mark.touch()
    if how == STOP:
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1e6)


def late(how: str, mark: Path, inner: Callable[..., Any], number: int) -> Callable[..., Any]:
    """Return ``inner``, whose ``number``-th call hangs before it does anything."""
    left = [number]

    def outer(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            hang(how, mark)
        return inner(*arguments, **named)

    return outer


def lay_in(phase: str, how: str, number: int, mark: Path) -> None:
    """Let this process hang in ``phase``."""
    from hpcpgd import distribute, session, training
    from hpcpgd.checkpoint.folder import Folder
    from hpcpgd.checkpoint.keeper import Keeper

    if phase == "step":
        _lay_in_step(how, number, mark)
        return
    places: dict[str, tuple[Any, str]] = {
        "loading": (distribute, "share"),
        "compiling": (session, "compile_kernels"),
        "validation": (training, "evaluate"),
        "checkpoint": (Keeper, "pause"),
        "writing": (Folder, "save"),
    }
    owner, name = places[phase]
    setattr(owner, name, late(how, mark, getattr(owner, name), number))


def _lay_in_step(how: str, number: int, mark: Path) -> None:
    from hpcpgd import session

    inner = session.compile_kernels

    def compiled(ranks: Any, trainer: Any, gpu: Any) -> float:
        seconds = inner(ranks, trainer, gpu)
        trainer.reduction.step = late(how, mark, trainer.reduction.step, number)
        return seconds

    session.compile_kernels = compiled


def main(argv: list[str]) -> int:
    rank, how, phase, number, mark, *words = argv
    if launcher_rank() == int(rank):
        lay_in(phase, how, int(number), Path(mark))
    return train.main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
