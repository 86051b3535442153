"""What a checkpoint holds, as plain data that knows nothing of HDF5 or of ranks."""

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
        Name of the run: the same in all its segments and files.
    run_file : str
        Absolute path of the run file.
    config : dict
        The options, as TOML has them.
    dataset_sha256 : str
    facts : dict of str
        What the bits hang on: processor, BLAS, versions.
    network : Network
    steps : int
        Updates made since the run began; with the length of ``history`` the position in
        the sampler's order, which is a pure function of seed, epoch and step.
    elapsed : float
        Seconds of training in the epoch that is under way.
    totals : ndarray of float64, shape (parts, 8)
        Loss, correct answers and examples of that epoch's steps so far.
    parameters : ndarray, shape (size,)
        Flat vector.  Plain gradient descent has no other state.
    history : History
        Of the epochs that are complete.
    segments : list of Segment
        The starts of the run; the last has written this.
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
    history: History
    segments: list[Segment]
