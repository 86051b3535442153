"""The learning rates of a selection, and which of them it chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcpgd.config.run_config import RunConfig

RATES = (0.001, 0.002, 0.01, 0.1, 0.5, 1.0)


@dataclass(frozen=True)
class Selection:
    """The result of a selection.

    Attributes
    ----------
    accuracies, losses : tuple of float
        Of each of ``RATES``: validation accuracy and loss after the last epoch; NaN where
        training diverged.
    best : int
        Index of the chosen rate.
    test_accuracy, test_loss : float
        Of the chosen model, on the test set.
    """

    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    best: int
    test_accuracy: float
    test_loss: float


def best_of(rates: Sequence[float], accuracies: Sequence[float]) -> int | None:
    """Return the index of the best rate, the lowest of equal ones; None if all diverged."""
    known = [i for i, accuracy in enumerate(accuracies) if not np.isnan(accuracy)]
    return min(known, key=lambda i: (-accuracies[i], rates[i]), default=None)


def table(config: RunConfig, choice: Selection) -> str:
    """Return the rates with their accuracies, the chosen one marked."""
    lines = ["learning rate  validation accuracy  validation loss"]
    for i, rate in enumerate(RATES):
        accuracy, loss = choice.accuracies[i], choice.losses[i]
        known = "diverged" if np.isnan(accuracy) else f"{100 * accuracy:.2f} %"
        mark = "  chosen" if i == choice.best else ""
        lines.append(f"{rate:>13g}  {known:>19}  {loss:>15.4f}{mark}")
    tested = f"{100 * choice.test_accuracy:.2f} %, after {config.epochs} epochs"
    return "\n".join([*lines, f"test accuracy of the chosen model: {tested}"])
