"""Alternating rounds of contestants whose gradients have matched ``reference``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from scripts.bench.setting import Setting
from scripts.bench.verify import reference_gradient, relative_error
from scripts.gpu.contestants import Runner
from scripts.gpu.kernels import Finding

ERRORS = {"float32": 2e-5, "tf32": 2e-2}  # largest relative errors; TF32 cannot pass for float32
PEERS = ("PyTorch", "JAX")
SECONDS = 0.05  # time of a contestant in a round
QUICK_SECONDS = 0.001


@dataclass
class Cell:
    """One setting at one precision.

    Attributes
    ----------
    flops : int
        Floating-point operations per example.
    errors : dict
        Relative error of the first gradient against ``reference``, by contestant.
    absent : dict
        Why a contestant was not timed.
    seconds : dict
        Seconds of a step in each round, by contestant.
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

    def tflops(self, name: str) -> float:
        """Return a contestant's rate in 10¹² floating-point operations a second."""
        return self.flops * self.batch / self.median(name) / 1e12

    def ratio(self, name: str, base: str) -> float:
        """Return the median, over rounds, of the ratio of a contestant's time to another's.

        Contestants that were timed separately have other rounds: then the ratio of the medians.
        """
        one, other = (self.seconds.get(n, []) for n in (name, base))
        if len(one) != len(other):
            return self.median(name) / self.median(base)
        return float(np.median(np.divide(one, other))) if one else np.nan


def make_runners(
    cell: Cell, setting: Setting, makers: dict[str, Callable[[Setting], Runner]]
) -> tuple[dict[str, Runner], list[Finding]]:
    """Create the contestants; return those to be timed, and the errors of our gradients.

    A peer that is not installed, fails, or has another gradient, is recorded as absent.  A
    failure of our program is not caught.
    """
    expected = reference_gradient(setting)
    runners, findings = {}, []
    for name, make in makers.items():
        try:
            runner = make(setting)
            cell.errors[name] = relative_error(runner.gradient(), expected)
        except Exception as error:
            if name not in PEERS:
                raise
            cell.absent[name] = _one_line(error)
            continue
        bound = ERRORS[cell.precision]
        what = f"{name} {cell.precision} gradient, {cell.network} batch {cell.batch}"
        if name not in PEERS:
            findings.append(Finding(what, cell.errors[name], bound))
        if cell.errors[name] <= bound:
            runners[name] = runner
        else:
            cell.absent[name] = f"wrong: relative error {cell.errors[name]:.1e}, not timed"
    return runners, findings


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def time_cell(cell: Cell, runners: dict[str, Any], rounds: int, target: float) -> None:
    """Time the contestants in turn; each round begins with another one."""
    steps = {}
    for name in list(runners):
        try:
            steps[name] = calibrate(runners[name], target)
        except Exception as error:
            if name not in PEERS:
                raise
            cell.absent[name] = _one_line(error)
    names = list(steps)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            runners[name].run(1)  # raises the GPU's clocks again after a pause
            start = perf_counter()
            runners[name].run(steps[name])
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
