"""The progress of a run, as rank 0 prints it.

A terminal shows a bar.  A batch log gets a flushed line per epoch, or fewer for many epochs.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np

from hpcpgd.cli.launcher import mute
from hpcpgd.cli.quantities import duration, number, percent
from hpcpgd.data import Dataset
from hpcpgd.errors import printable
from hpcpgd.results.history import Epoch, History
from hpcpgd.results.record import Scores

FIRST = 5  # first epochs of each start, which have a line with ``auto``
ENOUGH_LINES = 50  # most lines for later epochs with ``auto``


class Progress:
    """Prints the progress of one run; ``silent`` on every rank but rank 0.

    Parameters
    ----------
    silent : bool
        Print nothing.
    epochs : int
        Epochs of the whole run.  Callers may set this attribute later, and ``begun``: the
        epochs of earlier starts of the run, ``dataset``, and ``bare``: print only epochs.
    every : int or str
        Epochs between the lines of a batch log; ``auto``: as `is_due` says.
    """

    def __init__(self, silent: bool, epochs: int, every: int | str) -> None:
        self._silent = silent or sys.stdout is None  # None where it was closed
        self.epochs = epochs
        self.begun = 0
        self.dataset: Dataset | None = None
        self.bare = False
        self._every = every
        self._bar: Any = None

    def say(self, text: str, epoch: bool = False) -> None:
        """Print one flushed line; a log that cannot be written does not end the run."""
        if self._silent or (self.bare and not epoch):
            return
        try:
            print(text, flush=True)
        except OSError:
            self._silent = True
            mute()

    def epoch(self, number: int, epoch: Epoch) -> None:
        """Report one finished epoch."""
        if self._silent:
            return
        if not on_terminal():
            if not is_due(number, self.begun, self.epochs, self._every):
                return
            place = f"epoch {number:>{len(str(self.epochs))}}/{self.epochs}"
            self.say(f"{place}  {line(epoch, self.dataset)}", True)
            return
        with suppress(OSError):  # a terminal that was closed does not end the run
            self._draw(epoch)

    def _draw(self, epoch: Epoch) -> None:
        if self._bar is None:
            from tqdm import tqdm

            # Without the thread by which tqdm watches its bars, which would stay.
            self._bar = type("Bar", (tqdm,), {"monitor_interval": 0})(
                total=self.epochs,
                initial=self.begun,
                unit="epoch",
                file=sys.stdout,
                dynamic_ncols=True,
                delay=1e-9,  # its first line is that of this epoch
            )
            # The first epoch counts in the time left, which the bar would begin with now.
            self._bar.start_t -= epoch.epoch_seconds
            self._bar.last_print_t = self._bar.start_t
        self._bar.set_postfix_str(line(epoch, self.dataset), refresh=False)
        self._bar.update()

    def close(self) -> None:
        """End the bar, if there is one."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()


def is_due(epoch: int, begun: int, epochs: int, every: int | str) -> bool:
    """Return whether a batch log has a line for an epoch, counted from 1.

    It has one for the last epoch and for each multiple of ``every``.  ``auto`` stands for the
    smallest of 1, 2, 5, 10, 20 … that gives at most `ENOUGH_LINES`, and adds the first epochs
    after ``begun``.
    """
    if every != "auto":
        return epoch == epochs or epoch % int(every) == 0
    steps = (digit * 10**power for power in count() for digit in (1, 2, 5))
    step = next(step for step in steps if epochs <= step * ENOUGH_LINES)
    return epoch <= begun + FIRST or epoch == epochs or epoch % step == 0


def on_terminal() -> bool:
    """Return whether standard output is a terminal or a notebook that shows it to a user.

    Open MPI gives its ranks a terminal even if their output goes to a file: it has no size.
    """
    if type(sys.stdout).__module__.startswith("ipykernel"):
        return True
    try:
        return sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def qualities(epoch: Epoch, dataset: Dataset | None) -> tuple[str, str]:
    """Return the accuracies of training and validation as text, or the R² of a regression."""
    if dataset is None or not dataset.regression:
        return percent(epoch.train_accuracy), percent(epoch.validation_accuracy)
    train = dataset.r2("train", epoch.train_loss)
    return number(train), number(dataset.r2("validation", epoch.validation_loss))


def line(epoch: Epoch, dataset: Dataset | None = None) -> str:
    """Return one epoch as text, of the same width in most epochs; ``dataset`` for a regression."""
    name = "R2 " if dataset is not None and dataset.regression else ""
    train, validation = (f"{name}{text:>7}" for text in qualities(epoch, dataset))
    return (
        f"loss {number(epoch.train_loss):>6}  train {train}  validation {validation}  "
        f"{duration(epoch.epoch_seconds):>7}  {epoch.gflops:>5.3g} GFLOP/s"
    )


def summary(history: History, dataset: Dataset, test: Scores, params_sha256: str, path: str) -> str:
    """Return the table that ends a run."""
    last, name, tested = history.last, "accuracy", percent(test.accuracy)
    if dataset.regression:
        name, tested = "R2", number(dataset.r2("test", test.loss))
    rows = [
        ("", "train", "validation", "test"),
        ("loss", *map(number, (last.train_loss, last.validation_loss, test.loss))),
        (name, *qualities(last, dataset), tested),
    ]
    table = "\n".join(f"{a:<10}{b:>12}{c:>12}{d:>12}".rstrip() for a, b, c, d in rows)
    seconds = duration(float(np.median(history.column("epoch_seconds"))))
    rate = np.median(history.column("gflops"))
    name = path if path.isprintable() else printable(path)
    return (
        f"{table}\n{'time':<10}{seconds:>12}  an epoch (median of {len(history)}), "
        f"{rate:.3g} GFLOP/s\nparams_sha256  {params_sha256[:12]}\nrun file  {name}"
    )
