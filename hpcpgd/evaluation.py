"""Loss, accuracy and confusion of a model on a split, divided over the ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcpgd import mpi
from hpcpgd.data import Dataset, Split
from hpcpgd.engine import Engine
from hpcpgd.kernels.elementwise import CORRECT, LOSS
from hpcpgd.kernels.network import Array
from hpcpgd.kernels.partition import block_range


@dataclass(frozen=True)
class Scores:
    """Means over the examples of a split; NaN if it is empty.

    Attributes
    ----------
    loss : float
        Eq. (6) for ``mse``.
    accuracy : float
        Share of right answers, 0 to 1.
    confusion : ndarray of int64, shape (classes, classes), or (0, 0) if not asked for
        Examples by true class (rows) and predicted class (columns).
    """

    loss: float
    accuracy: float
    confusion: Array


def evaluate(comm: Any, engine: Engine, dataset: Dataset, name: str, confusion: bool) -> Scores:
    """Score the engine's parameters on a split, with or without its confusion matrix.

    Every rank takes its block of the rows, in chunks of the engine's capacity.  Collective.
    """
    split: Split = getattr(dataset, name)
    classes = engine.network.widths[-1] if confusion else 0
    table = np.zeros((classes, classes), np.int64)
    begin, end = block_range(split.rows, comm.size, comm.rank)
    for first in range(begin, end, engine.capacity):
        count = min(engine.capacity, end - first)
        engine.score(name, first, count)
        if confusion:
            np.add.at(table, (split.labels[first : first + count], engine.predicted(count)), 1)
    totals = engine.take_totals()
    mpi.sum_in_place(comm, totals)
    mpi.sum_in_place(comm, table)
    if split.rows == 0:
        return Scores(np.nan, np.nan, table)
    return Scores(totals[LOSS] / split.rows, totals[CORRECT] / split.rows, table)
