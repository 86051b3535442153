"""Alternating rounds of contestants that have matched ``reference`` first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from bench.setting import EXAMPLES, RATE, Setting
from bench.verify import reference_gradient, relative_error
from gpu.contestants import Runner

ERRORS = {"float32": 5e-3, "tf32": 5e-2}  # of an update of weights that are 1,000 times larger
SECONDS = 0.05  # of a contestant in a round
QUICK_SECONDS = 0.001


@dataclass
class Cell:
    """One setting at one precision.

    Attributes
    ----------
    network : str
    batch : int
    precision : str
    flops : int
        Floating-point operations of an example.
    errors : dict
        Relative error of the first update against ``reference``, by contestant.
    absent : dict
        Why a contestant is not there.
    seconds : dict
        Of a step in each round, by contestant.
    """

    network: str
    batch: int
    precision: str
    flops: int
    errors: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """Return a contestant's median seconds of a step, NaN if it is absent."""
        return float(np.median(self.seconds[name])) if self.seconds.get(name) else np.nan

    def per_epoch(self, name: str) -> float:
        """Return a contestant's seconds for 60,000 examples."""
        return self.median(name) * EXAMPLES / self.batch

    def tflops(self, name: str) -> float:
        """Return a contestant's rate in 10¹² floating-point operations a second."""
        return self.flops * self.batch / self.median(name) / 1e12

    def ratio(self, name: str, base: str) -> float:
        """Return the median of the rounds' ratios of a contestant's time to another's."""
        pair = [self.seconds.get(n) for n in (name, base)]
        if not all(pair):
            return np.nan
        return float(np.median(np.divide(*pair)))


def make_runners(
    cell: Cell, setting: Setting, makers: dict[str, Callable[[Setting], Runner]]
) -> dict[str, Runner]:
    """Make the contestants that are here and whose first update is right."""
    expected = [RATE / setting.batch * part for part in reference_gradient(setting)]
    runners = {}
    for name, make in makers.items():
        try:
            runner = make(setting)
        except (ImportError, RuntimeError, AssertionError) as error:
            # A package without CUDA: its own words, in one line.
            cell.absent[name] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            continue
        cell.errors[name] = relative_error(runner.first_update(), expected)
        if cell.errors[name] > ERRORS[cell.precision]:
            cell.absent[name] = f"wrong: relative error {cell.errors[name]:.1e}, not timed"
            continue
        runners[name] = runner
    return runners


def time_cell(cell: Cell, runners: dict[str, Runner], rounds: int, target: float) -> None:
    """Let the contestants take turns."""
    steps = {name: calibrate(runner, target) for name, runner in runners.items()}
    for _ in range(rounds):
        for name, runner in runners.items():
            start = perf_counter()
            runner.run(steps[name])
            cell.seconds.setdefault(name, []).append((perf_counter() - start) / steps[name])


def calibrate(runner: Any, target: float) -> int:
    """Return the number of steps that take about ``target`` seconds."""
    steps = 1
    while True:
        start = perf_counter()
        runner.run(steps)
        seconds = perf_counter() - start
        if seconds > target / 4:
            return max(round(steps * target / seconds), 1)
        steps *= 4
