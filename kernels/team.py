"""A team of threads that run compiled code side by side.

Compiled code releases the GIL, so Python threads suffice, and they sleep between calls:
there is no second pool that spins against that of the BLAS.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class _Member:
    """What the caller and one thread share.  It knows nothing of the team, which so can end."""

    number: int
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    function: Callable[[int], None] | None = None
    error: BaseException | None = None

    def serve(self) -> None:
        """Run what is handed over until that is nothing."""
        while True:
            self.go.acquire()
            if self.function is None:
                return
            try:
                self.function(self.number)
            except BaseException as error:
                self.error = error
            # A kept function would keep its plan alive until the next call.
            self.function = None
            self.done.release()


class Team:
    """``size`` threads, the caller among them, that run one function with their number.

    The threads end with the team.

    Parameters
    ----------
    size : int
        Threads; 1 starts none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._members = [_Member(number) for number in range(1, size)]
        for member in self._members:
            threading.Thread(target=member.serve, daemon=True).start()
        weakref.finalize(self, _dismiss, self._members)

    def run(self, function: Callable[[int], None]) -> None:
        """Call ``function(0) … function(size - 1)`` at the same time and wait for all.

        Raises
        ------
        BaseException
            The first error of a member, after all have ended.
        """
        for member in self._members:
            member.function = function
            member.go.release()
        try:
            function(0)
        finally:
            for member in self._members:
                member.done.acquire()
        for member in self._members:
            if member.error is not None:
                error, member.error = member.error, None
                raise error


def _dismiss(members: list[_Member]) -> None:
    """Let the threads end: without a function, ``go`` means so."""
    for member in members:
        member.go.release()
