"""What a run records of each epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hpcpgd.kernels.network import Array


@dataclass(frozen=True)
class Epoch:
    """One epoch, the same on every rank.

    Attributes
    ----------
    train_loss, train_accuracy : float
        Running means over the epoch's steps, each with the weights that it began with.
    validation_loss, validation_accuracy : float
        After the epoch.
    epoch_seconds : float
        Training alone, the maximum over the ranks.
    validation_seconds : float
        Validation alone, the maximum over the ranks.
    gflops : float
        Rate: 10⁹ floating-point operations a second, of all ranks together.
    gflop_per_epoch : float
        Work: 10⁹ floating-point operations of the products of the epoch's steps.
    learning_rate : float
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


@dataclass
class Timing:
    """On rank 0, the time and rows of every rank in the epochs, or parts of them, of a segment.

    Attributes
    ----------
    epochs : list of int
        Their numbers, from 1.
    seconds : list of ndarray, shape (ranks, phases)
    rows : list of ndarray of int64, shape (ranks,)
    """

    epochs: list[int] = field(default_factory=list)
    seconds: list[Array] = field(default_factory=list)
    rows: list[Array] = field(default_factory=list)

    def add(self, epoch: int, seconds: Array, rows: Array) -> None:
        """Count what was measured in ``epoch``, once more if it was paused."""
        if not self.epochs or self.epochs[-1] != epoch:
            self.epochs.append(epoch)
            self.seconds.append(np.zeros_like(seconds))
            self.rows.append(np.zeros_like(rows))
        self.seconds[-1] = self.seconds[-1] + seconds
        self.rows[-1] = self.rows[-1] + rows


@dataclass
class History:
    """Epochs so far.

    Attributes
    ----------
    epochs : list of Epoch
    """

    epochs: list[Epoch] = field(default_factory=list)

    def column(self, name: str) -> Array:
        """Return one attribute of all epochs, (epochs,)."""
        return np.array([getattr(epoch, name) for epoch in self.epochs])
