"""Whether a run has learned anything, from what it recorded."""

from __future__ import annotations

import numpy as np

from hpcpgd.cli.quantities import number, percent
from hpcpgd.config.default_rate import default_rate
from hpcpgd.config.run_config import RunConfig, flag_name
from hpcpgd.data import Dataset
from hpcpgd.kernels.core.network import Array
from hpcpgd.results.history import Epoch, History


def remark(history: History, dataset: Dataset, config: RunConfig) -> str:
    """Return a line that says what a run that learned nothing may try, empty for others."""
    reason = at_chance(history.last, dataset) or not_fallen(history.column("train_loss"))
    return f"note: no sign of learning: {reason}: try {advice(config)}" if reason else ""


def at_chance(last: Epoch, dataset: Dataset) -> str:
    """Say that the accuracy is at chance, empty where it is not or labels mean nothing.

    Chance is the best that one answer for all rows can do: the share of the most frequent
    class.  A network that guesses stays below two standard errors more in 98 of 100 runs.
    """
    if not dataset.has_accuracy:
        return ""
    name, rows, accuracy = "validation", dataset.validation, last.validation_accuracy
    if not rows.rows:
        name, rows, accuracy = "training", dataset.train, last.train_accuracy
    share = float(np.bincount(rows.labels).max()) / rows.rows
    if accuracy >= min(1.0, share + 2 * np.sqrt(share * (1 - share) / rows.rows)):
        return ""
    seen = f"{name} accuracy {percent(accuracy)} is at chance"
    return f"{seen}, as one class has {percent(share)} of the rows"


def not_fallen(losses: Array) -> str:
    """Say that the last epoch's training loss is not below the first's, empty where it is.

    Each is a mean over an epoch's steps, the first from random weights on: even labels that
    mean nothing let it fall, as the network learns how often each occurs.
    """
    if len(losses) < 2 or losses[-1] < losses[0]:
        return ""
    first, last = number(losses[0]), number(losses[-1])
    return f"the training loss has not fallen: {first} in the first epoch, {last} in the last"


def advice(config: RunConfig) -> str:
    """Return the options to try: the default rate, else what helps beside it."""
    usual = default_rate(config)
    if config.learning_rate != usual:
        return f"--learning-rate {usual:g} (now {float(config.learning_rate):g})"
    more = "epochs" if config.max_steps == "none" else "max_steps"
    options = [f"more {flag_name(more)} (now {getattr(config, more)})"]
    if config.batch_size != 1:
        options.append(f"a smaller --batch-size (now {config.batch_size})")
    if config.activation == "sigmoid":
        options.append("--activation relu")
    return " or ".join(options)
