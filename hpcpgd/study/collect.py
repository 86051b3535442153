"""Make the study file, schema ``hpcpgd.study/1``: all runs copied into one HDF5 file."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np

from hpcpgd.environment.provenance import cpu_model
from hpcpgd.errors import DataError
from hpcpgd.results.atomic import write_atomically
from hpcpgd.results.identify import STUDY
from hpcpgd.results.netcdf import put
from hpcpgd.results.result_reader import SCHEMAS, ResultReader, opened_result
from hpcpgd.study.grid import points
from hpcpgd.study.read_run import read_row
from hpcpgd.study.rows import UNITS, Row, failed_row
from hpcpgd.study.runner import order
from hpcpgd.study.study_folder import Failure, StudyFolder
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.summary import Summary, summarise
from hpcpgd.version import __version__

NO_MODEL = ("", "none")  # of a run that failed early, or without a GPU
TEXTS = ("hpcpgd_version", "written", "name", "kind", "base")
NUMBERS = ("repeats", "warmup_epochs", "expected_runs")
# Columns that files of earlier versions lack.
ADDED = (
    "logical_cores", "others_used", "unchecked", "speedup_low", "speedup_high",
    "validation_accuracy", "other_kernels",
)  # fmt: skip
FORMERLY = {"asked_reduction": "reduction"}  # the column of older files that has the same values
SUMMARY_UNITS = {**UNITS, "median": "s", "ci_low": "s", "ci_high": "s"}


def gather(study: StudyFile, folder: StudyFolder, machine: str | None) -> list[Row]:
    """Return a row for each run of the study that has ended, well or not.

    Raises
    ------
    DataError
        If a run file is damaged.
    """
    rows: list[Row] = []
    for point in points(study):
        for job in order([point], study.repeats):
            failure, path = folder.read_failure(job), folder.run_file(job)
            if path.exists():
                rows.append(read_row(path, point, job.repeat, study.warmup_epochs, machine))
            elif failure is not None:
                rows.append(failed_row(point, job.repeat, failure, machine or ""))
    # A run that failed early has not recorded its processor: it gets that of the other runs.
    known = next((row.machine for row in rows if row.machine), cpu_model())
    return _separate_models([row if row.machine else replace(row, machine=known) for row in rows])


def missing_points(study: StudyFile, rows: list[Row]) -> list[Row]:
    """Return a row of status ``missing`` for each point without a run in ``rows`` of a folder."""
    ended, machine = {row.key for row in rows}, next((row.machine for row in rows), "")
    none = Failure("missing", 0, "")
    return [failed_row(p, 0, none, machine) for p in points(study) if rows and p.key not in ended]


def _separate_models(rows: list[Row]) -> list[Row]:
    """Add the model to the names of machines that have several: ratios are within one model."""
    for column in ("cpu_model", "gpu_model"):
        models: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            models[row.machine].add(getattr(row, column))
        several = {name for name, names in models.items() if len(names - set(NO_MODEL)) > 1}
        rows = [
            replace(row, machine=f"{row.machine}, {getattr(row, column)}")
            if row.machine in several and getattr(row, column) not in NO_MODEL
            else row
            for row in rows
        ]
    return rows


def write(
    path: Path,
    study: StudyFile,
    rows: list[Row],
    expected: int,
    missing: Sequence[Row] = (),
    origins: dict[str, list[str]] | None = None,
) -> list[Summary]:
    """Write the study file, whole or not at all; return its summary.

    Parameters
    ----------
    expected : int
        Number of rows when all runs have ended.
    missing : sequence of Row
        Points without a run, which the summary names and the table of runs does not.
    origins : dict, optional
        The machines of each folder by the label that ``collect`` was given for it, "" without
        one; the study's own folder is the first.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    summary = summarise([*rows, *missing], study.kind, study.base, study.repeats)
    image = io.BytesIO()
    with h5netcdf.File(image, "w") as file:
        _table(file, "runs", "run", rows, UNITS)
        _table(file, "summary", "point", summary, SUMMARY_UNITS)
    with h5py.File(image, "r+") as file:
        file.attrs.update(
            schema=SCHEMAS[STUDY],
            hpcpgd_version=__version__,
            written=datetime.now(UTC).isoformat(timespec="seconds"),
            name=study.name,
            kind=study.kind,
            repeats=study.repeats,
            warmup_epochs=study.warmup_epochs,
            base=json.dumps(study.base),
            expected_runs=expected,
            origins=json.dumps(origins or {"": []}),
        )
    write_atomically(path, image.getbuffer())
    return summary


def _table(file: Any, name: str, dimension: str, rows: list[Any], units: dict[str, str]) -> None:
    group = file.create_group(name)
    group.dimensions = {dimension: len(rows)}
    put(group, dimension, (dimension,), np.arange(len(rows)))
    for column in fields(rows[0]):
        values = [getattr(row, column.name) for row in rows]
        about = {} if isinstance(values[0], str) else {"units": units.get(column.name, "1")}
        put(group, column.name, (dimension,), values, **about)


def read(path: Path) -> tuple[dict[str, Any], list[Row], list[Summary]]:
    """Return attributes, runs and summary of a study file.

    Raises
    ------
    DataError
        If it is damaged or not a study file.
    """
    with opened_result(path, STUDY) as file:
        attributes: dict[str, Any] = {name: file.text(name) for name in TEXTS}
        attributes |= {name: file.number(name, 0) for name in NUMBERS}
        attributes["origins"] = _origins(file)
        return attributes, _rows(file, "runs", Row), _rows(file, "summary", Summary)


def _origins(file: ResultReader) -> dict[str, list[str]]:
    if not file.has("origins"):  # files of earlier versions
        return {"": []}
    try:
        values = json.loads(file.text("origins")).items()
        return {k: list(map(str, machines)) for k, machines in values} or {"": []}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise DataError("attribute 'origins' does not name labels and machines") from None


def _rows(file: ResultReader, table: str, kind: Any) -> list[Any]:
    columns = {}
    for c in fields(kind):
        path = f"{table}/{c.name}"
        path = path if file.has(path) else f"{table}/{FORMERLY.get(c.name, c.name)}"
        if file.has(path) or c.name not in ADDED:
            columns[c.name] = _column(file, path, str(c.type))
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise DataError(f"{table}: its columns have {sorted(lengths)} values, expected as many")
    return [kind(**dict(zip(columns, v, strict=True))) for v in zip(*columns.values(), strict=True)]


def _column(file: ResultReader, path: str, kind: str) -> list[Any]:
    """Return a column of a table, each value of the kind that its row has."""
    if kind == "str":
        return list(file.texts(path))
    values = file.values(path, (None,))
    if kind != "float" and values.dtype.kind not in "iu":
        raise DataError(f"{path}: {values.dtype}, expected a column of {kind}")
    return list(values.astype({"int": int, "bool": bool, "float": float}[kind]).tolist())
