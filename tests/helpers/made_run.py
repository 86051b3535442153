"""The record of a run that was never made, with times that are easy to check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpcpgd.results.history import Epoch, History, Timing
from hpcpgd.results.record import RankPlace, RunRecord, Scores
from tests.faults.hostile.checkpoints import make_state, record

EPOCHS = 3
PHASE_SECONDS = np.array([0.001, 0.002, 0.003, 0.004, 0.005])  # of rank 0, as the file orders them


def made_run(accuracy: float = 0.25, epochs: int = EPOCHS, ranks: int = 2) -> RunRecord:
    """Return the record of a run; rank r takes 1 + r times as long as rank 0."""
    state = make_state(epochs)
    seconds = np.multiply.outer(np.arange(1.0, ranks + 1), PHASE_SECONDS)
    places = [RankPlace("host", "cpu", f"{rank},{rank + 1}", "none") for rank in range(ranks)]
    timing = Timing([*range(1, epochs + 1)], [seconds] * epochs, [np.ones(ranks, int)] * epochs)
    segments = [replace(s, ranks=ranks, places=places, timing=timing) for s in state.segments]
    history = [
        Epoch(1 / n, accuracy, 2 / n, accuracy / 2, 1.0, 0.5, 3.0, 4.0, 0.1, 2)
        for n in range(1, epochs + 1)
    ]
    test = Scores(0.75, accuracy, np.ones((2, 2), np.int64))
    return replace(record(state), segments=segments, history=History(history), test=test)
