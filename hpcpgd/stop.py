"""Asking a run to stop: signals set a flag, and the ranks agree on it between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What SLURM sends before the end of a job (--signal=USR1@120), and what schedulers and
# people send to end one.
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class StopRequest:
    """Whether this rank was asked to stop.

    Attributes
    ----------
    requested : bool
    """

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Take note of signals for a while, in place of ending at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # a library's user has given us a thread: signals are not ours
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
