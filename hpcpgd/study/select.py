"""``hpcpgd study select``: the learning rate by validation accuracy, as in the paper.

Each rate of the paper's grid is trained from the same weights on the same minibatches; the
ranks are split into groups that share the rates out.  The highest validation accuracy
after the last epoch wins, of equals the lowest rate.  The test set is opened once, by the
winner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpcpgd.config import RunConfig
from hpcpgd.errors import UsageError

DESCRIPTION = """Train with each learning rate of the paper's grid, shared out over the ranks, and
take the one with the highest validation accuracy; the test set is opened once.  The flags are
those of hpcpgd train, but for the learning rate."""
RATES = (0.001, 0.002, 0.01, 0.1, 0.5, 1.0)


@dataclass(frozen=True)
class Choice:
    """What a selection found.

    Attributes
    ----------
    rates, accuracies, losses : tuple of float
        Validation accuracy and loss after the last epoch; NaN where training diverged.
    best : int
        Index of the chosen rate.
    test_accuracy, test_loss : float
        Of the chosen model, on the test set.
    """

    rates: tuple[float, ...]
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    best: int
    test_accuracy: float
    test_loss: float


def main(argv: Sequence[str]) -> int:
    """Run the command line and return the exit code; collective over all ranks of the job."""
    from hpcpgd.config import FIELDS, flag_name
    from hpcpgd.options import build_parser, parse

    for word in argv:
        if word.split("=")[0] == "--learning-rate":
            raise UsageError(f"{word}: select tries the rates {', '.join(map(str, RATES))} itself")
    config, print_config = parse(argv, build_parser("hpcpgd study select", DESCRIPTION))
    if print_config:
        raise UsageError("--print-config goes with train")
    for key in ("checkpoint_dir", "checkpoint_every", "resume", "time_limit", "hang_limit"):
        if getattr(config, key) != FIELDS[key].default:
            raise UsageError(
                f"{flag_name(key)} goes with train: a selection has neither checkpoints nor limits"
            )
    from hpcpgd.study.selecting import run

    return run(config)


def best_of(rates: Sequence[float], accuracies: Sequence[float]) -> int | None:
    """Return the index of the highest accuracy, the lowest rate of equals; None if all NaN."""
    known = [i for i, accuracy in enumerate(accuracies) if not np.isnan(accuracy)]
    return min(known, key=lambda i: (-accuracies[i], rates[i]), default=None)


def table(config: RunConfig, choice: Choice) -> str:
    """Return the rates with their accuracies, the chosen one marked."""
    lines = ["learning rate  validation accuracy  validation loss"]
    for i, rate in enumerate(choice.rates):
        accuracy, loss = choice.accuracies[i], choice.losses[i]
        known = "diverged" if np.isnan(accuracy) else f"{100 * accuracy:.2f} %"
        mark = "  chosen" if i == choice.best else ""
        lines.append(f"{rate:>13g}  {known:>19}  {loss:>15.4f}{mark}")
    return "\n".join(
        [*lines, f"test accuracy of the chosen model: {100 * choice.test_accuracy:.2f} %, after "
         f"{config.epochs} epochs"]
    )  # fmt: skip
