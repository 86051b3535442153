"""Loss, accuracy and confusion of a model on a split, divided over the ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcpgd import mpi
from hpcpgd.data import Split
from hpcpgd.kernels import Plan
from hpcpgd.kernels.elementwise import CORRECT, LOSS
from hpcpgd.kernels.network import Array
from hpcpgd.kernels.partition import block_range
from hpcpgd.loader import Loader


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


def evaluate(
    comm: Any, plan: Plan, loader: Loader, split: Split, parameters: Array, confusion: bool
) -> Scores:
    """Score ``parameters`` on ``split``, with or without the confusion matrix; collective.

    Every rank takes its block of the rows, in chunks of the plan's capacity.
    """
    classes = plan.network.widths[-1] if confusion else 0
    table = np.zeros((classes, classes), np.int64)
    begin, end = block_range(split.rows, comm.size, comm.rank)
    for first in range(begin, end, plan.work.capacity):
        numbers = np.arange(first, min(first + plan.work.capacity, end))
        loader.load(split, numbers)
        plan.evaluate(parameters, numbers.size)
        predicted = plan.work.predicted[: numbers.size]
        if confusion:
            np.add.at(table, (split.labels[numbers], predicted), 1)
    totals = plan.work.take_totals()
    mpi.sum_in_place(comm, totals)
    mpi.sum_in_place(comm, table)
    if split.rows == 0:
        return Scores(np.nan, np.nan, table)
    return Scores(totals[LOSS] / split.rows, totals[CORRECT] / split.rows, table)
