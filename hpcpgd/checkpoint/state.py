"""The content of a checkpoint as plain data, independent of HDF5 and of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.results.history import History
from hpcpgd.results.record import Segment


@dataclass
class State:
    """A run between two steps.

    Attributes
    ----------
    run : str
        Id of the run: the same in all its segments and files.
    run_file : str
        Absolute path of the run file.
    config : dict
        The options, as TOML has them.
    dataset_sha256 : str
    facts : dict of str
        The facts on which the bits of results depend: processor, BLAS, versions.
    steps : int
        Updates made since the run began.  With the length of ``history`` they give the
        position in the sampler's order, a pure function of seed, epoch and step.
    elapsed : float
        Seconds of training in the current epoch.
    totals : ndarray of float64, shape (parts, 8)
        Loss, correct predictions and examples of that epoch's steps so far.
    parameters : ndarray, shape (size,)
        Flat vector.
    states : ndarray, shape (vectors, size)
        What the optimiser keeps, in the same order; gradient descent keeps none.
    history : History
        The complete epochs.
    segments : list of Segment
        The starts of the run; the last one has written the checkpoint.
    best : ndarray or None
        The parameters of the epoch ``history.best``, if the run keeps them.
    """

    run: str
    run_file: str
    config: dict[str, Any]
    dataset_sha256: str
    facts: dict[str, str]
    network: Network
    steps: int
    elapsed: float
    totals: Array
    parameters: Array
    states: Array
    history: History
    segments: list[Segment]
    best: Array | None = None
