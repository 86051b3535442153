"""Whether a run has learned anything, judged by the losses and accuracies of its epochs."""

from __future__ import annotations

import numpy as np

from hpcpgd.cli.quantities import number, percent
from hpcpgd.config.default_rate import default_rate
from hpcpgd.config.run_config import RunConfig, flag_name
from hpcpgd.data import Dataset
from hpcpgd.data.assemble import NUMBERS
from hpcpgd.kernels.core.network import Array
from hpcpgd.results.history import Epoch, History


def remark(history: History, dataset: Dataset, config: RunConfig) -> str:
    """Return a line with options to try if the run shows no sign of learning, else ""."""
    reason = at_chance(history.last, dataset) or not_fallen(history.column("train_loss"))
    if not reason:
        return ""
    steps = int(history.column("steps").sum())
    return f"note: no sign of learning: {reason}: try {advice(config, dataset, steps)}"


def at_chance(last: Epoch, dataset: Dataset) -> str:
    """Return a phrase if the accuracy is at chance, "" if it is not or the dataset has none.

    Chance is the accuracy of one prediction for all rows: the fraction of the most frequent
    class.  Guesses stay below chance and two standard errors in 98 of 100 runs.
    """
    if dataset.regression:
        return _no_better_than_mean(last, dataset)
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


def _no_better_than_mean(last: Epoch, dataset: Dataset) -> str:
    """Return a phrase if a regression predicts no better than the mean of the targets, else ""."""
    rows = dataset.validation.rows
    name, loss = ("validation", last.validation_loss) if rows else ("train", last.train_loss)
    r2 = dataset.r2(name, loss)
    return f"{name} R2 {number(r2)}: the mean of the targets is as good" if r2 <= 0 else ""


def not_fallen(losses: Array) -> str:
    """Return a phrase if the last epoch's training loss is not below the first's, else "".

    Each loss is the mean over the steps of an epoch, and the first epoch begins with random
    weights.  Even random labels let the loss fall: the network learns their frequencies.
    """
    if len(losses) < 2 or losses[-1] < losses[0]:
        return ""
    first, last = number(losses[0]), number(losses[-1])
    return f"the training loss has not fallen: {first} in the first epoch, {last} in the last"


def advice(config: RunConfig, dataset: Dataset, steps: int) -> str:
    """Return the options to try after ``steps``, the likeliest cause first."""
    if any(NUMBERS in note for note in dataset.notes):
        return "--task regression, if the labels are numbers to predict"
    if dataset.range_note:
        return f"--standardise, as {dataset.range_note.split(', on which')[0]}"
    if config.warmup_steps >= steps:
        return f"fewer --warmup-steps (now {config.warmup_steps}, and the run has {steps} steps)"
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
