"""Asking a run to pause between two steps, or this process to end: by a signal, by the clock.

A request to pause is sent with every step's reduction, so that all ranks pause after the same
step.  Before the first step there is nothing to save, and a signal ends the process at once.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from hpcpgd.cli.launcher import complain, launcher_rank
from hpcpgd.errors import INTERRUPTED, HpcpgdError, StoppedError

# SLURM sends SIGUSR1 before the end of a job (--signal=USR1@120).  Schedulers and people send
# SIGTERM to end one.
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)

GRACE = 1.0  # seconds that rank 0, or Python's own handler, has to act first
# Seconds in which a second Ctrl-C is the same one: the terminal and the launcher both send it.
SAME_KEY = 1.0


class Attendant:
    """A thread that ends this process at a signal, even while its main thread waits in MPI.

    Python calls signal handlers between two instructions of the main thread.  While that waits
    for other ranks in MPI, perhaps for ever, no handler would run.

    Parameters
    ----------
    program : str
        Begins the message.
    leave : callable
        Ends this process with an exit code, and the whole job if it can.
    """

    def __init__(self, program: str, leave: Callable[[int], object] = os._exit) -> None:
        self.leave = leave
        self._program = program
        self._closing = threading.Event()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)  # as set_wakeup_fd demands
        self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._attend, daemon=True, name="attendant")
        self._thread.start()

    def close(self) -> None:
        """End the thread; from now on only Python's handlers react to signals."""
        self._closing.set()
        signal.set_wakeup_fd(self._before)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def _attend(self) -> None:
        while number := os.read(self._reader, 1):
            if number[0] in (*SIGNALS, signal.SIGINT):
                self._end(signal.Signals(number[0]))

    def _end(self, number: signal.Signals) -> None:
        first, error = launcher_rank() == 0, _reason(number)
        late = not first or number == signal.SIGINT
        if late and self._closing.wait(GRACE):
            return  # Python's handler has run, and the process ends by itself
        complain(self._program, error, first or self.leave is not os._exit)
        self.leave(error.exit_code)


def _reason(number: signal.Signals) -> HpcpgdError:
    if number != signal.SIGINT:
        return StoppedError(f"stopped by {number.name} before training began: run again")
    error = StoppedError("interrupted")
    error.exit_code = INTERRUPTED
    return error


@contextmanager
def attended(program: str, leave: Callable[[int], object] = os._exit) -> Iterator[None]:
    """Run an attendant during the body, in which MPI waits, unless one runs already."""
    attendant = None
    if threading.current_thread() is threading.main_thread():
        before = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(before)
        attendant = Attendant(program, leave) if before == -1 else None
    try:
        yield
    finally:
        if attendant is not None:
            attendant.close()


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
        self._attendant: Attendant | None = None
        self._interrupted = math.inf  # when the first Ctrl-C came

    @property
    def ending(self) -> bool:
        """Whether the run is to end, not only to pause."""
        return self.signalled or monotonic() >= self.end_at

    @property
    def requested(self) -> bool:
        """Whether the ranks are to pause after this step."""
        return self.signalled or monotonic() >= min(self.end_at, self.pause_at)

    def listen(self, program: str) -> None:
        """Handle signals; until ``begin`` they end this process with a message."""
        for number in SIGNALS:
            signal.signal(number, self._note)
        self._attendant = Attendant(program)

    def together(self, leave: Callable[[int], object]) -> None:
        """Let a signal before ``begin`` end the whole job, by ``leave``."""
        if self._attendant is not None:
            self._attendant.leave = leave

    def begin(self) -> None:
        """From now on let a signal request a stop: there is something to save.

        The same holds for Ctrl-C; a second one ends this process at once.
        """
        if self._attendant is not None:
            signal.signal(signal.SIGINT, self._interrupt)
        self.close()

    def close(self) -> None:
        """End no process at a signal any more."""
        if self._attendant is not None:
            self._attendant.close()
            self._attendant = None

    def ignore(self) -> None:
        """Ignore signals during shutdown.

        A launcher may send one more signal when it sees the first rank end.  Python may have
        restored the system's handlers by then, and the job's exit code would be the signal's.
        """
        self.close()
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signalled = True

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if monotonic() > self._interrupted + SAME_KEY:
            raise KeyboardInterrupt
        if not self.signalled and launcher_rank() == 0:
            # Not print: the signal may have come in the middle of one.
            os.write(
                2, b"interrupted: the run stops after this step; Ctrl-C again ends it at once\n"
            )
        self._interrupted = min(self._interrupted, monotonic())
        self.signalled = True
