"""The learning rate of every step: a linear warm-up, then a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# The factor of the rate, by the share of the steps after the warm-up that are made.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "step": lambda share: 1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01,
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
}


@dataclass(frozen=True)
class RateSchedule:
    """Learning rates as a pure function of the step, so that restarts change nothing.

    Attributes
    ----------
    name : str
        A key of ``SCHEDULES``.
    rate : float
        The rate at the end of the warm-up.
    warmup : int
        Steps in which the rate grows linearly.
    steps : int
        Steps of the whole run.
    """

    name: str
    rate: float
    warmup: int
    steps: int

    def at(self, step: int) -> float:
        """Return the rate of ``step``, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.rate * SCHEDULES[self.name](share)
