"""From a run file to its row of a study."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcpgd.config.toml_file import parse
from hpcpgd.data.checks import numeric
from hpcpgd.data.hdf5_heaps import opened
from hpcpgd.data.safe_hdf5 import attribute, dataset, texts
from hpcpgd.errors import DataError, shown
from hpcpgd.kernels.core.network import Array
from hpcpgd.parallel.phase_clock import COMPUTE, DATA, UPDATE
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
    with opened(path) as file:
        try:
            return _row(_Run(file), path, point, repeat, warmup, machine)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


class _Run:
    """What a run file says, each value checked as it is asked for."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file

    def text(self, name: str) -> str:
        """Return a text among the attributes."""
        return str(attribute(self._file, name, str))

    def number(self, name: str) -> int:
        """Return a number among the attributes that is 1 or more."""
        value = int(attribute(self._file, name, int))
        if value < 1:
            raise DataError(f"attribute {name!r} is {value}, expected 1 or more")
        return value

    def has(self, path: str) -> bool:
        """Return whether there is such an attribute, group or dataset."""
        return path in self._file.attrs or isinstance(
            self._file.get(path, getlink=True), h5py.HardLink
        )

    def first_text(self, path: str) -> str:
        """Return the first of the texts of a dataset."""
        return next(texts(dataset(self._file, path, path)), "")

    def values(self, path: str, shape: tuple[int | None, ...]) -> Array:
        """Return a dataset's numbers; None stands for 1 or more of them."""
        found = dataset(self._file, path, path)
        numeric(found.dtype, path)
        same = len(found.shape) == len(shape) and all(
            size == wanted or (wanted is None and size)
            for size, wanted in zip(found.shape, shape, strict=True)
        )
        if not same:
            raise DataError(f"{path}: has shape {found.shape}, expected {shape}")
        values: Array = np.asarray(found[()])
        return values

    def times(self, path: str, shape: tuple[int | None, ...]) -> Array:
        """Return values that must be finite and not negative."""
        values = self.values(path, shape)
        if not ((values >= 0) & (values < np.inf)).all():
            raise DataError(f"{path}: expected finite numbers, 0 or more")
        return values


def _row(run: _Run, path: Path, point: Point, repeat: int, warmup: int, machine: str | None) -> Row:
    schema = run.text("schema")
    if schema != SCHEMA:
        raise DataError(f"schema {schema!r}, expected {SCHEMA!r}")
    if run.text("status") != "complete":
        raise DataError(f"status {run.text('status')!r}: expected the file of a complete run")
    config = parse(run.text("config"))["train"]
    ranks, threads, rows = run.number("ranks"), run.number("threads"), run.number("train_rows")
    _require_same(point, config, ranks)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    batch = rows if config["batch_size"] == "full" else min(int(config["batch_size"]), rows)
    return Row(
        machine or run.text("cpu_model"),
        paper_row(run.text("backend"), ranks, threads),
        point.key,
        point.setting,
        point.as_json(),
        run.text("backend"),
        run.text("reduction"),
        network_name(point.config.hidden),
        shared("dataset", run.text("dataset")),
        run.text("dtype"),
        run.text("precision"),
        rows,
        batch,
        ranks,
        threads,
        run.number("nodes"),
        int(run.values("segments/group_size", (None,))[-1]),
        repeat,
        test_accuracy=float(run.values("test/accuracy", ())) if run.has("test") else NAN,
        oversubscribed=bool(run.values("segments/oversubscribed", (None,))[-1]),
        hostname=run.first_text("ranks/segment1/host"),
        cpu_model=run.text("cpu_model"),
        gpu_model=run.text("gpu_model"),
        software=f"hpcpgd {run.text('hpcpgd_version')} {run.text('git_revision')}".strip(),
        dataset_sha256=run.text("dataset_sha256"),
        params_sha256=run.text("params_sha256") if run.has("params_sha256") else "",
        run_file_sha256=digest,
        **_times(run, warmup, rows, batch),
    )


def _require_same(point: Point, config: dict[str, Any], ranks: int) -> None:
    """Refuse the run of another point: what was given must stand in the run's own file."""
    wanted = {k: v for k, v in point.given if k != "dataset" and v != "auto"}
    wanted |= {"hidden": point.config.hidden, "ranks": point.ranks}
    wanted.pop("network", None)
    for key, value in wanted.items():
        seen = ranks if key == "ranks" else config.get(key)
        if (list(value) if isinstance(value, tuple) else value) != seen:
            raise DataError(f"the run of another point: {key} {shown(seen)}, expected {value}")


def _times(run: _Run, warmup: int, rows: int, batch: int) -> dict[str, Any]:
    """Return the medians over the counted epochs."""
    steps = run.values("history/steps", (None,))
    if steps.dtype.kind not in "iu" or not ((steps > 0) & (steps <= rows)).all():
        raise DataError("history/steps: expected whole numbers, 1 to the number of rows")
    epochs = len(steps)
    counted = _counted(steps, -(-rows // batch), warmup)
    # What the time of an epoch's steps is multiplied by: 1, or more if it is not whole.
    scale = rows / np.minimum(steps[counted] * float(batch), rows)
    tpe = float(np.median(run.times("history/epoch_seconds", (epochs,))[counted] * scale))
    work = float(run.times("history/gflop_per_epoch", (epochs,))[counted][-1] * scale[-1])
    if tpe <= 0:
        raise DataError(f"history/epoch_seconds: an epoch took {tpe} s, expected more than 0")
    found: dict[str, Any] = {
        "epochs": len(scale),
        "cold": counted.start < warmup,
        "steps": int(steps[counted].sum()),
        "scaled": bool(scale[-1] > 1),
        "tpe_seconds": tpe,
        "gflop_per_epoch": work,
        "gflops": work / tpe,
    }
    if run.has("timing/segment1/rank"):
        seconds = run.times("timing/segment1/seconds", (epochs, None, len(PHASE_COLUMNS)))
        found |= _phases(seconds[counted] * scale[:, None, None])
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
