"""Asking a run to stop: signals set a flag, and the ranks agree on it between two steps."""

from __future__ import annotations

import signal
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

    def listen(self) -> None:
        """Take note of signals in place of ending at once."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def ignore(self) -> None:
        """Leave this process in peace as it ends.

        A launcher that sees the first rank go may send one more signal, when Python has
        already put the system's own handlers back: the job's exit code would be the signal's.
        """
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
