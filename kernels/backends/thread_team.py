"""A team of threads that run compiled code in parallel.

Compiled code releases the GIL, so Python threads suffice.  They sleep between calls, so that
they do not compete with the threads of the BLAS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class _Member:
    """One thread of the team: the data that it shares with the caller."""

    number: int
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    function: Callable[[int], None] | None = None
    error: BaseException | None = None

    def serve(self) -> None:
        """Run each function that the caller sets, until it sets None."""
        while True:
            self.go.acquire()
            function = self.function
            if function is None:
                return
            try:
                function(self.number)
            except BaseException as error:
                self.error = error
            self.done.release()


class ThreadTeam:
    """``size`` threads, including the caller, that run one function with their numbers.

    Threads are started at the first ``run`` and end at ``close``.

    Parameters
    ----------
    size : int
        Number of threads; 1 starts none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._members = [_Member(number) for number in range(1, size)]
        self._threads: list[threading.Thread] = []
        self._closed = False

    def close(self) -> None:
        """End the threads and wait for them: afterwards no thread uses what ``run`` was given.

        The wait always ends: if an exception interrupted ``run``, a thread may still work, but
        its function waits for no other thread.
        """
        self._closed = True
        for member in self._members:
            member.function = None
            member.go.release()
        for thread in self._threads:
            thread.join()

    def run(self, function: Callable[[int], None]) -> None:
        """Call ``function(0) … function(size - 1)`` at the same time and wait for all.

        Raises
        ------
        BaseException
            The error of the first member that has one, after all have finished.
        """
        if self._closed:
            raise RuntimeError("a closed team has no threads")
        for member in self._members[len(self._threads) :]:
            thread = threading.Thread(
                target=member.serve, daemon=True, name=f"team {member.number}"
            )
            thread.start()
            self._threads.append(thread)
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
