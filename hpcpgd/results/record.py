"""The content of a run file as plain data, independent of HDF5."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import nan

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data.dataset import Dataset
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.reductions.traffic import ProductCost
from hpcpgd.results.history import History, Timing


@dataclass(frozen=True)
class RankPlace:
    """Where one rank ran; ``gpu`` names its model and bus, or is ``none``."""

    host: str
    cpu_model: str
    affinity: str
    gpu: str


@dataclass(frozen=True)
class Scores:
    """Means over the examples of a split; NaN if it is empty.

    Attributes
    ----------
    loss : float
        Eq. (6) for ``mse``.
    accuracy : float
        Fraction of correct predictions.
    confusion : ndarray of int64, shape (classes, classes), or (0, 0) if not computed
        Examples by true class (rows) and predicted class (columns).
    """

    loss: float
    accuracy: float
    confusion: Array


@dataclass
class Segment:
    """One start of the run, on one number of ranks.

    Attributes
    ----------
    first_step, last_step : int
        The steps of this segment, counted from 1 over the run; ``last_step`` is 0 at first.
    started : str
        ISO 8601, UTC.
    compile_seconds : float
        Compiling the kernels or loading them from the cache, the maximum over the ranks.
    gpu_model, gpu_library : str
        Of rank 0; ``none`` without a GPU.
    transport : str
        Where the Allreduce of the gradient reads and writes.
    ranks_per_gpu : int
        The largest number of ranks on one GPU; 0 without a GPU.
    group_size : int
        Ranks of the largest group that shares memory; 1 where ranks do not share it.
    shards : int
        Of the reduction ``reproducible``; 0 for others.
    hidden_share : float
        Fraction of the communication that ``overlap`` hid; NaN for others and before the end.
    places : list of RankPlace
        Of every rank.
    others_used : float
        Cores that other processes used while the segment was timed, on the machine where they used
        the largest share; 0 for less than a tenth of its cores. NaN before the end, for less than
        half a second, and where the system does not report it.
    initial_sha256 : str
        Of the parameters before the first step of this segment, computed as ``params_sha256``.
    precision : str
        Of products, as ``matmul_precision`` has it.
    """

    first_step: int
    last_step: int
    started: str
    ranks: int
    nodes: int
    threads: int
    backend: str
    reduction: str
    hpcpgd_version: str
    mpi_library: str
    blas_library: str
    python_version: str
    numpy_version: str
    numba_version: str
    gpu_model: str
    gpu_library: str
    transport: str
    ranks_per_gpu: int
    compile_seconds: float
    oversubscribed: bool
    group_size: int
    shards: int
    hidden_share: float
    places: list[RankPlace]
    timing: Timing = field(default_factory=Timing)
    others_used: float = nan  # which files of earlier versions lack, as the next ones
    initial_sha256: str = ""
    precision: str = ""


@dataclass
class RunRecord:
    """Everything that the file of one run contains.

    Attributes
    ----------
    run : str
        Name of the run, the same in all its segments and files.
    status : str
        ``running``, ``complete``, ``stopped`` or ``diverged``.
    config : RunConfig
        Fully resolved.
    costs : list of ProductCost
        Of every product of a full step.
    communicated : ndarray of int64, shape (L + 1,)
        Bytes that a full step communicates (``traffic.communicated``).
    parameters : ndarray or None
        Flat vector; None before the end and after a divergence.
    best : ndarray or None
        Flat vector of the epoch ``history.best``, if the run keeps it.
    """

    run: str
    config: RunConfig
    network: Network
    argv: list[str]
    git_revision: str
    dataset: Dataset
    segments: list[Segment]
    costs: list[ProductCost]
    communicated: Array
    history: History
    status: str = "running"
    parameters: Array | None = None
    test: Scores | None = None
    best: Array | None = None
