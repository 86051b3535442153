"""Placements: numbers of ranks and threads, and the cores that they use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hpcpgd.machine.cores import affinity


@dataclass(frozen=True)
class Placement:
    """A number of ranks, and of threads per rank."""

    ranks: int
    threads: int

    @property
    def cores(self) -> int:
        """Number of cores in use."""
        return self.ranks * self.threads

    @property
    def label(self) -> str:
        """Name of the placement in tables."""
        if self.cores == 1:
            return "1 core"
        return f"1 rank x {self.threads} threads" if self.ranks == 1 else f"{self.ranks} ranks"


ONE_CORE = Placement(1, 1)
TWO_THREADS = Placement(1, 2)
TWO_RANKS = Placement(2, 1)
ALL = (ONE_CORE, TWO_THREADS, TWO_RANKS)


class Cores:
    """The cores of this rank: one for one thread, both for two threads.

    Parameters
    ----------
    rank : int
        0 or 1.

    Attributes
    ----------
    numbers : list of int
        Both cores, as the system numbers them.
    pinned : bool
        Whether this system can bind a thread to cores.
    """

    def __init__(self, rank: int) -> None:
        self.numbers = affinity()[:2]
        self._own = self.numbers[rank % len(self.numbers)]
        self.pinned = hasattr(os, "sched_setaffinity")

    @property
    def count(self) -> int:
        """Number of available cores, at most 2."""
        return len(self.numbers)

    def pin(self) -> None:
        """Bind this thread, and threads that it will start, to the rank's core."""
        self._bind({self._own})

    @contextmanager
    def used_by(self, placement: Placement) -> Iterator[None]:
        """In the body, let this rank use both cores if the placement has two threads."""
        if placement.threads > 1:
            self._bind(set(self.numbers))
        try:
            yield
        finally:
            if placement.threads > 1:
                self.pin()

    def _bind(self, cores: set[int]) -> None:
        if self.pinned:
            os.sched_setaffinity(0, cores)
