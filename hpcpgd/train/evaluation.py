"""Loss, accuracy and confusion matrix of a model on a split whose rows the ranks divide."""

from __future__ import annotations

import numpy as np

from hpcpgd.data import Dataset, Split
from hpcpgd.engines.engine import Engine
from hpcpgd.kernels.core.elementwise import CORRECT, LOSS
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.core.workspace import TOTALS
from hpcpgd.parallel import mpi
from hpcpgd.results.record import Scores


def evaluate(
    comm: mpi.Comm, engine: Engine, dataset: Dataset, name: str, confusion: bool
) -> Scores:
    """Score the engine's parameters on the split ``name``; collective.

    The rows are cut into chunks, which are divided over the ranks.  Each chunk has its own sums,
    added in order: if chunks have a fixed size, the totals do not depend on the number of ranks.
    Without ``confusion`` the confusion matrix has shape (0, 0).
    """
    split: Split = getattr(dataset, name)
    classes = engine.network.widths[-1] if confusion else 0
    table = np.zeros((classes, classes), np.int64)
    size = engine.score_rows or min(engine.capacity, max(-(-split.rows // comm.size), 1))
    chunks = -(-split.rows // size)
    totals = np.zeros((chunks, TOTALS))
    for chunk in range(*block_range(chunks, comm.size, comm.rank)):
        first = chunk * size
        count = min(size, split.rows - first)
        engine.score(name, first, count)
        totals[chunk] = added(engine.take_totals())
        if confusion:
            np.add.at(table, (split.labels[first : first + count], engine.predicted(count)), 1)
    mpi.allreduce_sum(comm, totals)
    mpi.allreduce_sum(comm, table)
    if split.rows == 0:
        return Scores(np.nan, np.nan, table)
    total = added(totals)
    return Scores(total[LOSS] / split.rows, total[CORRECT] / split.rows, table)


def added(totals: Array) -> Array:
    """Return the sum of rows of totals, in order: float64, shape (8,)."""
    return np.asarray(np.add.reduce(totals.reshape(-1, TOTALS), axis=0))
