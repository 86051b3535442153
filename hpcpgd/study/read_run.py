"""Read a run file as a row of a study."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.config.toml_file import parse
from hpcpgd.errors import DataError, shown
from hpcpgd.kernels.core.network import Array
from hpcpgd.parallel.phase_names import COMPUTE, DATA, UPDATE
from hpcpgd.results.result_reader import ResultReader, opened_result
from hpcpgd.study.grid import Point, shared
from hpcpgd.study.rows import NAN, PHASE_COLUMNS, Row, paper_row, row_of


def read_row(path: Path, point: Point, repeat: int, warmup: int, machine: str | None) -> Row:
    """Return the row of a run file.

    Raises
    ------
    DataError
        If the file is damaged, of another schema, or of a run of another point.
    """
    with opened_result(path) as run:
        return _row(run, path, point, repeat, warmup, machine)


def _row(
    run: ResultReader, path: Path, point: Point, repeat: int, warmup: int, machine: str | None
) -> Row:
    if run.text("status") != "complete":
        raise DataError(f"status {run.text('status')!r}: expected the file of a complete run")
    config = parse(run.text("config"))["train"]
    ranks, threads, rows = run.number("ranks"), run.number("threads"), run.number("train_rows")
    _require_same(point, config, ranks)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    batch = rows if config["batch_size"] == "full" else min(int(config["batch_size"]), rows)
    return row_of(
        point,
        repeat,
        machine or run.text("cpu_model"),
        paper_row=paper_row(run.text("backend"), ranks, threads),
        backend=run.text("backend"),
        reduction=run.text("reduction"),
        dataset=shared("dataset", run.text("dataset")),
        dtype=run.text("dtype"),
        precision=run.text("precision"),
        rows=rows,
        batch_size=batch,
        threads=threads,
        nodes=run.number("nodes"),
        group_size=int(run.values("segments/group_size", (None,))[-1]),
        test_accuracy=float(run.values("test/accuracy", ())) if run.has("test/accuracy") else NAN,
        oversubscribed=bool(run.values("segments/oversubscribed", (None,))[-1]),
        hostname=next(run.texts("ranks/segment1/host"), ""),
        cpu_model=run.text("cpu_model"),
        gpu_model=run.text("gpu_model"),
        software=f"hpcpgd {run.text('hpcpgd_version')} {run.text('git_revision')}".strip(),
        dataset_sha256=run.text("dataset_sha256"),
        params_sha256=run.text("params_sha256") if run.has("params_sha256") else "",
        run_file_sha256=digest,
        logical_cores=logical_cores(run),
        others_used=run.others_used(),
        validation_accuracy=float(run.values("history/validation_accuracy", (None,))[-1]),
        **_times(run, warmup, rows, batch),
    )


def was_disturbed(path: Path) -> bool:
    """Return whether others used the cores during a run."""
    with opened_result(path) as run:
        return run.others_used() > 0


def logical_cores(run: ResultReader) -> int:
    """Return how many logical cores the ranks could use at the last start."""
    place = f"ranks/segment{len(run.values('segments/ranks', (None,)))}"
    masks = set(zip(run.texts(f"{place}/host"), run.texts(f"{place}/affinity"), strict=False))
    return len({(host, core) for host, cores in masks for core in cores.split(",")})


def _require_same(point: Point, config: dict[str, Any], ranks: int) -> None:
    """Refuse the run of another point: the run file must have the options of the point."""
    wanted = {k: v for k, v in point.given if k != "dataset" and v != "auto"}
    wanted |= {"hidden": point.config.hidden, "ranks": point.ranks}
    wanted.pop("network", None)
    for key, value in wanted.items():
        seen = ranks if key == "ranks" else config.get(key)
        if (list(value) if isinstance(value, tuple) else value) != seen:
            raise DataError(f"the run of another point: {key} {shown(seen)}, expected {value}")


def _times(run: ResultReader, warmup: int, rows: int, batch: int) -> dict[str, Any]:
    """Return the medians over the counted epochs."""
    steps = run.values("history/steps", (None,))
    if steps.dtype.kind not in "iu" or not ((steps > 0) & (steps <= rows)).all():
        raise DataError("history/steps: expected whole numbers, 1 to the number of rows")
    epochs = len(steps)
    counted = _counted(steps, -(-rows // batch), warmup)
    # The factor from the time of the counted steps to that of an epoch, 1 for a whole epoch.
    scale = rows / np.minimum(steps[counted] * float(batch), rows)
    tpe = float(np.median(run.times("history/epoch_seconds", (epochs,))[counted] * scale))
    work = float(run.times("history/gflop_per_epoch", (epochs,))[counted][-1] * scale[-1])
    if tpe <= 0:
        raise DataError(f"history/epoch_seconds: an epoch took {tpe} s, expected more than 0")
    times: dict[str, Any] = {
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
        times |= _phases(seconds[counted] * scale[:, None, None])
    return times


def _counted(steps: Array, every: int, warmup: int) -> slice:
    """Return the epochs after the warm-up, without an incomplete one if there are others.

    Only the last epoch can be incomplete, with fewer steps than ``every``.
    """
    first, end = min(warmup, len(steps) - 1), len(steps)
    if steps[-1] < every and end - first > 1:
        end -= 1
    return slice(first, end)


def _phases(seconds: Array) -> dict[str, float]:
    """Return the columns of the phases from (epoch, rank, phase)."""
    columns = {
        name: float(np.median(seconds[:, :, number].mean(axis=1)))
        for number, name in enumerate(PHASE_COLUMNS.values())
    }
    useful = seconds[:, :, [DATA, COMPUTE, UPDATE]].sum(axis=2)
    columns["useful_mean_s"] = float(np.median(useful.mean(axis=1)))
    columns["useful_max_s"] = float(np.median(useful.max(axis=1)))
    return columns
