"""What a run records of each epoch."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from hpcpgd.kernels.core.network import Array
from hpcpgd.parallel.phase_names import PHASES


@dataclass(frozen=True)
class Epoch:
    """One epoch, the same on every rank.

    Attributes
    ----------
    train_loss, train_accuracy : float
        Means over the steps of the epoch, each step with the weights before its update.
    validation_loss, validation_accuracy : float
        After the epoch.
    epoch_seconds : float
        Training alone, the maximum over the ranks.
    validation_seconds : float
        Validation alone, the maximum over the ranks.
    gflops : float
        Rate: 10⁹ floating-point operations a second, of all ranks together.
    gflop_per_epoch : float
        Work: 10⁹ floating-point operations of the products of the epoch's steps, the same in
        every precision.
    learning_rate : float
        Of the last step.
    steps : int
        Minibatches of this epoch that were trained: all, or fewer where ``max_steps`` ended it.
    """

    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    epoch_seconds: float
    validation_seconds: float
    gflops: float
    gflop_per_epoch: float
    learning_rate: float
    steps: int


class Timing:
    """The time and the rows of every rank in each epoch of a segment, kept on rank 0.

    They are stored in flat arrays, as in ``History``: a long run has many epochs.

    Parameters
    ----------
    epochs : iterable of int
        Their numbers, from 1.
    seconds : iterable of ndarray, shape (ranks, phases)
    rows : iterable of ndarray of int64, shape (ranks,)
    """

    def __init__(
        self, epochs: Iterable[int] = (), seconds: Iterable[Array] = (), rows: Iterable[Array] = ()
    ) -> None:
        self.epochs = array("q")
        self._seconds, self._rows = array("d"), array("q")
        self._ranks = 0
        for one in zip(epochs, seconds, rows, strict=True):
            self.add(*one)

    def __repr__(self) -> str:
        """Return all numbers."""
        parts = (self.epochs.tolist(), self.seconds.tolist(), self.rows.tolist())
        return f"Timing({', '.join(map(str, parts))})"

    def add(self, epoch: int, seconds: Array, rows: Array) -> None:
        """Add what was measured in ``epoch``; the parts of a paused epoch are summed."""
        if self.epochs and self.epochs[-1] == epoch:
            np.frombuffer(self._seconds)[-seconds.size :] += seconds.ravel()
            np.frombuffer(self._rows, np.int64)[-rows.size :] += rows
            return
        self._ranks = rows.size
        self.epochs.append(epoch)
        self._seconds.frombytes(seconds.tobytes())
        self._rows.frombytes(rows.tobytes())

    @property
    def seconds(self) -> Array:
        """Copy of all seconds, float64 (epochs, ranks, phases)."""
        return np.array(self._seconds).reshape(len(self.epochs), self._ranks, len(PHASES))

    @property
    def rows(self) -> Array:
        """Copy of all rows, int64 (epochs, ranks)."""
        return np.array(self._rows, np.int64).reshape(len(self.epochs), self._ranks)


class History:
    """The epochs so far, stored as one array for each attribute.

    An object for each epoch would take ten times the memory, and a run may have a million epochs.
    """

    def __init__(self, epochs: Iterable[Epoch] = ()) -> None:
        self._columns = {f.name: array("q" if f.type == "int" else "d") for f in fields(Epoch)}
        self.extend(epochs)

    def __repr__(self) -> str:
        """Return all epochs."""
        return f"History({list(self)})"

    def __len__(self) -> int:
        """Return how many epochs there are."""
        return len(self._columns["steps"])

    def __iter__(self) -> Iterator[Epoch]:
        """Yield the epochs in their order."""
        return (Epoch(*values) for values in zip(*self._columns.values(), strict=True))

    @property
    def last(self) -> Epoch:
        """The last epoch; there must be one."""
        return Epoch(*(values[-1] for values in self._columns.values()))

    def add(self, epoch: Epoch) -> None:
        """Append one epoch."""
        for name, values in self._columns.items():
            values.append(getattr(epoch, name))

    def extend(self, epochs: Iterable[Epoch]) -> None:
        """Append several."""
        for epoch in epochs:
            self.add(epoch)

    @property
    def best(self) -> int:
        """The first epoch, from 1, with the lowest validation loss; 0 if none is finite."""
        losses = self.column("validation_loss")
        finite = np.where(np.isfinite(losses), losses, np.inf)
        return 0 if not np.isfinite(losses).any() else int(finite.argmin()) + 1

    def until(self, accuracy: float) -> tuple[int, int, float]:
        """Return epochs, steps, seconds until validation had ``accuracy``; 0, 0, NaN if never."""
        reached = self.column("validation_accuracy") >= accuracy
        if not reached.any():
            return 0, 0, math.nan
        epochs = int(reached.argmax()) + 1
        steps, seconds = (self.column(n)[:epochs].sum() for n in ("steps", "epoch_seconds"))
        return epochs, int(steps), float(seconds)

    def column(self, name: str) -> Array:
        """Return a copy of one attribute of all epochs, (epochs,)."""
        return np.array(self._columns[name])
