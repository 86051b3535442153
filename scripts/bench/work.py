"""What is timed, as the clock sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Spent:
    """What a program outside this process took for its steps, by its own clocks.

    Attributes
    ----------
    seconds : float
    cpu : float
        Processor time in seconds, all its threads.
    """

    seconds: float
    cpu: float


class Work(Protocol):
    """What a cell repeats."""

    def run(self, steps: int) -> Spent | None:
        """Make steps; None leaves it to the caller to look at the clock."""
