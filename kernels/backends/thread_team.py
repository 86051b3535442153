"""A team of threads that run compiled code side by side.

Compiled code releases the GIL, so Python threads suffice, and they sleep between calls:
there is no second pool that spins against that of the BLAS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class _Member:
    """What the caller and one thread share."""

    number: int
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    function: Callable[[int], None] | None = None
    error: BaseException | None = None

    def serve(self) -> None:
        """Run what is handed over until that is nothing."""
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
    """``size`` threads, the caller among them, that run one function with their number.

    They live from the first ``run`` to ``close``.

    Parameters
    ----------
    size : int
        Threads; 1 starts none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._members = [_Member(number) for number in range(1, size)]
        self._threads: list[threading.Thread] = []
        self._closed = False

    def close(self) -> None:
        """Let the threads end and wait for them: what ``run`` was given is not in use any more.

        The wait ends: a thread that still works, as an exception drove the caller out of ``run``,
        needs nobody to come to its end.
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
            The first error of a member, after all have ended.
        """
        if self._closed:
            raise RuntimeError("a team that is closed has no threads")
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
