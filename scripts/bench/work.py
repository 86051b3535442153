"""The interface of work that is timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Spent:
    """The time that a program outside this process took for its steps, by its clock.

    Attributes
    ----------
    cpu : float
        Processor time of all its threads in seconds.
    """

    seconds: float
    cpu: float


class Work(Protocol):
    """The work that a cell repeats."""

    def run(self, steps: int) -> Spent | None:
        """Make steps; return their time, or None if the caller is to measure it."""
