"""The rows of a study file, one for each run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpcpgd.parallel.phase_names import PHASES
from hpcpgd.study.grid import Point, network_name, shared
from hpcpgd.study.study_folder import Failure

NAN = float("nan")
PHASE_COLUMNS = {phase: f"{phase}_s" for phase in PHASES}
PAPER_ROWS = {
    ("loops", True): "Naive Serial",
    ("loops", False): "Multicore Parallel",
    ("gemv", True): "Fast Serial",
    ("gemv", False): "Fast Parallel",
    ("cuda-loops", True): "GPU Parallel",
}
UNITS = {
    "tpe_seconds": "s",
    "useful_mean_s": "s",
    "useful_max_s": "s",
    "gflop_per_epoch": "1e9",
    "gflops": "1e9 s-1",
    **dict.fromkeys(PHASE_COLUMNS.values(), "s"),
}


@dataclass(frozen=True)
class PointColumns:
    """The columns that the tables of runs and of points have in common.

    Attributes
    ----------
    machine : str
        Times of one label can be compared.
    key : str
        Distinguishes a point from all others of its study.
    setting : str
        The options of the study that have no column of their own.
    """

    machine: str
    paper_row: str
    key: str
    setting: str
    backend: str
    reduction: str
    network: str
    dataset: str
    dtype: str
    precision: str
    rows: int
    batch_size: int
    ranks: int
    threads: int
    nodes: int
    group_size: int

    @property
    def options(self) -> dict[str, str]:
        """The options in ``setting`` by their keys."""
        return dict(part.partition(" ")[::2] for part in self.setting.split(", ") if part)


@dataclass(frozen=True)
class Row(PointColumns):
    """A run of a study; what was not measured is NaN or empty.

    Attributes
    ----------
    given : str
        All options that the study sets, as JSON.
    tpe_seconds : float
        Time per epoch: the median over the counted epochs, the slowest rank each; where
        ``scaled``, of the steps that were timed, times the rows of an epoch over theirs.
    data_s … update_s : float
        Mean over the ranks of the phases of that epoch, medians over the epochs.
    useful_mean_s, useful_max_s : float
        Data, compute and update together, mean and largest over the ranks.
    epochs : int
        Number of counted epochs, without the warm-up.
    steps : int
        Steps that were counted.
    scaled : bool
        No whole epoch was counted: every time is that of ``steps``, scaled to an epoch.
    cold : bool
        Fewer warm-up epochs were left out than the study asks for.
    software : str
        The program that ran and its version.
    logical_cores : int
        Logical cores that its ranks could use, on all nodes.
    others_used : float
        Cores that other processes used meanwhile, as the run file has it.
    validation_accuracy : float
        After the last epoch; NaN without one.
    """

    given: str
    repeat: int
    epochs: int = 0
    steps: int = 0
    scaled: bool = False
    cold: bool = False
    tpe_seconds: float = NAN
    gflop_per_epoch: float = NAN
    gflops: float = NAN
    data_s: float = NAN
    compute_s: float = NAN
    reduce_s: float = NAN
    wait_s: float = NAN
    update_s: float = NAN
    useful_mean_s: float = NAN
    useful_max_s: float = NAN
    test_accuracy: float = NAN
    oversubscribed: bool = False
    status: str = "complete"
    error: str = ""
    hostname: str = ""
    cpu_model: str = ""
    gpu_model: str = ""
    software: str = ""
    dataset_sha256: str = ""
    params_sha256: str = ""
    run_file_sha256: str = ""
    logical_cores: int = 0  # older study files lack it and what follows
    others_used: float = NAN
    validation_accuracy: float = NAN


def paper_row(backend: str, ranks: int, threads: int) -> str:
    """Return the row of the paper's Table 1 that a run belongs to, "" if none."""
    return PAPER_ROWS.get((backend, ranks * threads == 1), "")


def row_of(point: Point, repeat: int, machine: str, **measured: Any) -> Row:
    """Return the row of a run: the options of its point, replaced by what was ``measured``."""
    config = point.config
    threads = 0 if config.threads == "auto" else int(config.threads)
    rows, batch = (0 if isinstance(n, str) else n for n in (config.train_rows, config.batch_size))
    given = {
        "paper_row": paper_row(config.backend, point.ranks, threads),
        "key": point.key,
        "setting": point.setting,
        "given": point.as_json(),
        "backend": config.backend,
        "reduction": config.reduction,
        "network": network_name(config.hidden),
        "dataset": shared("dataset", config.dataset),
        "dtype": config.dtype,
        "precision": config.matmul_precision,
        "rows": rows,
        "batch_size": batch,
        "ranks": point.ranks,
        "threads": threads,
        "nodes": 0,
        "group_size": 0,
    }
    return Row(machine=machine, repeat=repeat, **{**given, **measured})


def failed_row(point: Point, repeat: int, failure: Failure, machine: str) -> Row:
    """Return the row of a run that did not end well."""
    code = f"exit code {failure.code}: " if failure.code else ""
    return row_of(point, repeat, machine, status=failure.status, error=f"{code}{failure.error}")
