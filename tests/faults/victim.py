"""``python -m tests.faults.victim RANK PHASE NUMBER DEED WORDS``: train with one faulty rank.

That rank does ``DEED`` when it comes to ``PHASE`` for the ``NUMBER``-th time, or, if the phase
is ``time``, ``NUMBER`` milliseconds after it began.  The moment is noted in the file that
``FAULT_STAMP`` names.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hpcpgd.cli.launcher import launcher_rank
from hpcpgd.train import cli

TIME = "time"
STAMP = "FAULT_STAMP"
BYTES = "FAULT_BYTES"  # that a file may have after the deed "limit"


def _fail(error: BaseException) -> None:
    raise error


def _limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ[BYTES]), hard))


def _sleep() -> None:
    time.sleep(1e6)


FAILURES: dict[str, Callable[[], None]] = {
    "RuntimeError": lambda: _fail(RuntimeError("a fault was made here")),
    "MemoryError": lambda: _fail(MemoryError()),
    "exit": lambda: sys.exit(3),
    "_exit": lambda: os._exit(1),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
}
HANGS: dict[str, Callable[[], None]] = {
    "SIGSTOP": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "sleep": _sleep,
}
SIGNALS: dict[str, Callable[[], None]] = {
    number.name: partial(os.kill, os.getpid(), number)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
}
DEEDS = {**FAILURES, **HANGS, **SIGNALS, "limit": _limit}


class Trap:
    """Does its deed when a run comes to it for the ``number``-th time."""

    def __init__(self, number: int, deed: str) -> None:
        self.left = number
        self._deed = DEEDS[deed]

    def sprung(self) -> bool:
        """Count a call; return whether it is the one."""
        self.left -= 1
        return self.left == 0

    def spring(self) -> None:
        """Do the deed."""
        if STAMP in os.environ:
            Path(os.environ[STAMP]).write_text(str(time.monotonic()))
        self._deed()

    def step_on(self) -> None:
        """Count a call, and do the deed if it is the one."""
        if self.sprung():
            self.spring()

    def before(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``inner`` with the trap before it."""

        def outer(*arguments: Any, **named: Any) -> Any:
            self.step_on()
            return inner(*arguments, **named)

        return outer

    def after(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``inner`` with the trap behind it."""

        def outer(*arguments: Any, **named: Any) -> Any:
            found = inner(*arguments, **named)
            self.step_on()
            return found

        return outer


def _later(milliseconds: int, trap: Trap) -> None:
    time.sleep(milliseconds / 1000)
    trap.spring()


def main(argv: list[str]) -> int:
    from tests.faults.places import PLACES

    rank, phase, number, deed, *words = argv
    if launcher_rank() == int(rank):
        trap = Trap(int(number), deed)
        if phase == TIME:
            threading.Thread(target=_later, args=(int(number), trap), daemon=True).start()
        else:
            PLACES[phase](trap)
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
