"""From a run file to its row of a study."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcpgd.clock import COMPUTE, DATA, UPDATE
from hpcpgd.data.guard import file_size, refuse_bad_file
from hpcpgd.errors import DataError
from hpcpgd.kernels.network import Array
from hpcpgd.results.runfile import SCHEMA
from hpcpgd.study.grid import Point, network_name, shared
from hpcpgd.study.rows import NAN, PHASE_COLUMNS, Row, paper_row


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
        _require_same(path, point, config, int(attributes["ranks"]))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows = int(attributes["train_rows"])
        batch = rows if config["batch_size"] == "full" else min(int(config["batch_size"]), rows)
        ranks, threads = int(attributes["ranks"]), int(attributes["threads"])
        accuracy = float(file["test/accuracy"][()]) if "test" in file else NAN
        return Row(
            machine or str(attributes["cpu_model"]),
            paper_row(str(attributes["backend"]), ranks, threads), point.key, point.setting,
            point.as_json(),
            str(attributes["backend"]), str(attributes["reduction"]),
            network_name(point.config.hidden), shared("dataset", str(attributes["dataset"])),
            str(attributes["dtype"]), str(attributes["precision"]), rows,
            batch, ranks, threads, int(attributes["nodes"]),
            int(file["segments/group_size"][-1]), repeat,
            test_accuracy=accuracy,
            oversubscribed=bool(file["segments/oversubscribed"][-1]),
            hostname=_text(file["ranks/segment1/host"][0]),
            cpu_model=str(attributes["cpu_model"]), gpu_model=str(attributes["gpu_model"]),
            software=f"hpcpgd {attributes['hpcpgd_version']} {attributes['git_revision']}".strip(),
            dataset_sha256=str(attributes["dataset_sha256"]),
            params_sha256=str(attributes.get("params_sha256", "")), run_file_sha256=digest,
            **_times(file, warmup, rows, batch),
        )  # fmt: skip


def _require_same(path: Path, point: Point, config: dict[str, Any], ranks: int) -> None:
    """Refuse the run of another point: what was given must stand in the run's own file."""
    wanted = {k: v for k, v in point.given if k != "dataset" and v != "auto"}
    wanted |= {"hidden": point.config.hidden, "ranks": point.ranks}
    wanted.pop("network", None)
    for key, value in wanted.items():
        seen = ranks if key == "ranks" else config[key]
        if (list(value) if isinstance(value, tuple) else value) != seen:
            raise DataError(f"{path}: the run of another point: {key} {seen}, expected {value}")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _times(file: h5py.File, warmup: int, rows: int, batch: int) -> dict[str, Any]:
    """Return the medians over the counted epochs."""
    history = file["history"]
    steps = history["steps"][...]
    counted = _counted(steps, -(-rows // batch), warmup)
    # What the time of an epoch's steps is multiplied by: 1, or more if it is not whole.
    scale = rows / np.minimum(steps[counted] * batch, rows)
    tpe = float(np.median(history["epoch_seconds"][counted] * scale))
    work = float(history["gflop_per_epoch"][counted][-1] * scale[-1])
    found: dict[str, Any] = {
        "epochs": len(scale),
        "cold": counted.start < warmup,
        "steps": int(steps[counted].sum()),
        "scaled": bool(scale[-1] > 1),
        "tpe_seconds": tpe,
        "gflop_per_epoch": work,
        "gflops": work / tpe,
    }
    timing = file["timing/segment1"]
    if "rank" in timing:
        found |= _phases(timing["seconds"][counted] * scale[:, None, None])
    return found


def _counted(steps: Array, every: int, warmup: int) -> slice:
    """Return the epochs after those for warming up: whole ones, or else the one begun.

    Only the last epoch can have fewer steps than ``every``; a single one counts itself.
    """
    first, end = min(warmup, len(steps) - 1), len(steps)
    if steps[-1] < every and end - first > 1:
        end -= 1
    return slice(first, end)


def _phases(seconds: Array) -> dict[str, float]:
    """Return the columns of the phases from (epoch, rank, phase)."""
    found = {
        name: float(np.median(seconds[:, :, number].mean(axis=1)))
        for number, name in enumerate(PHASE_COLUMNS.values())
    }
    useful = seconds[:, :, [DATA, COMPUTE, UPDATE]].sum(axis=2)
    found["useful_mean_s"] = float(np.median(useful.mean(axis=1)))
    found["useful_max_s"] = float(np.median(useful.max(axis=1)))
    return found
