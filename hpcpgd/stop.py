"""Asking a run to pause between two steps: by a signal, by the clock.

The request travels with every step's reduction, so that all ranks pause after the same one.
"""

from __future__ import annotations

import math
import signal
from time import monotonic
from types import FrameType

# What SLURM sends before the end of a job (--signal=USR1@120), and what schedulers and
# people send to end one.
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


class StopRequest:
    """Whether this rank asks all to pause.

    Attributes
    ----------
    signalled : bool
    end_at : float
        When the run is to end, on ``time.monotonic``'s clock.
    pause_at : float
        When it is to pause for a checkpoint.
    """

    def __init__(self) -> None:
        self.signalled = False
        self.end_at = math.inf
        self.pause_at = math.inf

    @property
    def ending(self) -> bool:
        """Whether the run is to end, not only to pause."""
        return self.signalled or monotonic() >= self.end_at

    @property
    def requested(self) -> bool:
        """Whether the ranks are to pause after this step."""
        return self.signalled or monotonic() >= min(self.end_at, self.pause_at)

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
        self.signalled = True
