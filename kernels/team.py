"""A team of threads that run compiled code side by side.

Compiled code releases the GIL, so Python threads suffice, and they sleep between calls:
there is no second pool that spins against that of the BLAS.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Team:
    """``size`` threads, the caller among them, that run one function with their number.

    Parameters
    ----------
    size : int
        Threads; 1 starts none.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._go = [threading.Semaphore(0) for _ in range(size)]
        self._done = [threading.Semaphore(0) for _ in range(size)]
        self._errors: list[BaseException] = []
        self._function: Callable[[int], None] = _nothing
        for member in range(1, size):
            threading.Thread(target=self._serve, args=(member,), daemon=True).start()

    def run(self, function: Callable[[int], None]) -> None:
        """Call ``function(0) … function(size - 1)`` at the same time and wait for all.

        Raises
        ------
        BaseException
            The first error of a member, after all have ended.
        """
        self._function = function
        for member in range(1, self.size):
            self._go[member].release()
        self._call(0)
        for member in range(1, self.size):
            self._done[member].acquire()
        if self._errors:
            error = self._errors[0]
            self._errors.clear()
            raise error

    def _serve(self, member: int) -> None:
        while True:
            self._go[member].acquire()
            self._call(member)
            self._done[member].release()

    def _call(self, member: int) -> None:
        try:
            self._function(member)
        except BaseException as error:
            self._errors.append(error)


def _nothing(member: int) -> None:
    """Stand in until the first call of ``run``."""
