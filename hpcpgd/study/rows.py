"""One row a run: what a study keeps of a run file."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcpgd.clock import COMPUTE, DATA, PHASES, UPDATE
from hpcpgd.data.guard import file_size, refuse_bad_file
from hpcpgd.errors import DataError
from hpcpgd.results.runfile import SCHEMA
from hpcpgd.study.folder import Failure
from hpcpgd.study.grid import Point, network_name

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
class Row:
    """A run of a study; what was not measured is NaN or empty.

    Attributes
    ----------
    machine : str
        Label under which figures are comparable.
    tpe_seconds : float
        Time per epoch: the median over the counted epochs, the slowest rank each.
    data_s … update_s : float
        Mean over the ranks of the phases of that epoch, medians over the epochs.
    useful_mean_s, useful_max_s : float
        Data, compute and update together, mean and largest over the ranks.
    epochs : int
        Epochs that were counted, those for warming up left out.
    """

    machine: str
    paper_row: str
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
    repeat: int
    epochs: int = 0
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
    params_sha256: str = ""
    run_file_sha256: str = ""


def paper_row(backend: str, ranks: int, threads: int) -> str:
    """Return the row of the paper's Table 1 that a run stands for, "" if none."""
    return PAPER_ROWS.get((backend, ranks * threads == 1), "")


def failed_row(point: Point, repeat: int, failure: Failure, machine: str) -> Row:
    """Return the row of a run that did not end well."""
    config = point.config
    threads = 0 if config.threads == "auto" else int(config.threads)
    numbers = [0 if isinstance(v, str) else int(v) for v in (config.train_rows, config.batch_size)]
    return Row(
        machine, paper_row(config.backend, point.ranks, threads), config.backend,
        config.reduction, network_name(config), config.dataset, config.dtype,
        config.matmul_precision, numbers[0], numbers[1], point.ranks, threads, 0, 0, repeat,
        status=failure.status, error=f"exit code {failure.code}: {failure.error}",
    )  # fmt: skip


def read_row(path: Path, point: Point, repeat: int, warmup: int, machine: str | None) -> Row:
    """Return the row of a run file.

    Raises
    ------
    DataError
        If the file is damaged, of another schema, or of another run than the point's.
    """
    file_size(path)
    with refuse_bad_file(path), h5py.File(path, "r") as file:
        attributes = dict(file.attrs)
        if attributes.get("schema") != SCHEMA:
            raise DataError(f"{path}: schema {attributes.get('schema')!r}, expected {SCHEMA!r}")
        config = tomllib.loads(attributes["config"])["train"]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        times = _times(file, warmup)
        batch, rows = config["batch_size"], int(attributes["train_rows"])
        ranks, threads = int(attributes["ranks"]), int(attributes["threads"])
        accuracy = float(file["test/accuracy"][()]) if "test" in file else NAN
        return Row(
            machine or str(attributes["cpu_model"]),
            paper_row(str(attributes["backend"]), ranks, threads),
            str(attributes["backend"]), str(attributes["reduction"]),
            network_name(point.config), str(attributes["dataset"]),
            str(attributes["dtype"]), str(attributes["precision"]), rows,
            rows if batch == "full" else min(int(batch), rows), ranks, threads,
            int(attributes["nodes"]), 0, repeat,
            test_accuracy=accuracy,
            oversubscribed=bool(file["segments/oversubscribed"][-1]),
            hostname=_text(file["ranks/segment1/host"][0]),
            cpu_model=str(attributes["cpu_model"]), gpu_model=str(attributes["gpu_model"]),
            params_sha256=str(attributes.get("params_sha256", "")), run_file_sha256=digest,
            **times,
        )  # fmt: skip


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _times(file: h5py.File, warmup: int) -> dict[str, Any]:
    """Return the medians over the counted epochs; a single epoch counts itself."""
    total = file["history/epoch_seconds"].shape[0]
    counted = slice(min(warmup, total - 1), None)
    seconds = file["history/epoch_seconds"][counted]
    work = float(file["history/gflop_per_epoch"][-1])
    phases = file["timing/segment1/seconds"][counted]  # (epoch, rank or statistic, phase)
    tpe = float(np.median(seconds))
    found: dict[str, Any] = {
        "epochs": len(seconds),
        "tpe_seconds": tpe,
        "gflop_per_epoch": work,
        "gflops": work / tpe,
    }
    if "rank" in file["timing/segment1"]:
        for number, name in enumerate(PHASE_COLUMNS.values()):
            found[name] = float(np.median(phases[:, :, number].mean(axis=1)))
        useful = phases[:, :, [DATA, COMPUTE, UPDATE]].sum(axis=2)
        found["useful_mean_s"] = float(np.median(useful.mean(axis=1)))
        found["useful_max_s"] = float(np.median(useful.max(axis=1)))
    return found
