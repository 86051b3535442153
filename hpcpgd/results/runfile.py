"""The run file, schema ``hpcpgd.run/1``: HDF5 with netCDF dimensions.

h5py, ``xarray.open_datatree(engine="h5netcdf")``, h5dump and HDFView all open it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np

from hpcpgd.config.toml_file import parse
from hpcpgd.data.dataset import Dataset, splits_of
from hpcpgd.data.hdf5_heaps import opened
from hpcpgd.data.safe_hdf5 import attribute
from hpcpgd.engines.parameters import params_sha256
from hpcpgd.kernels.core.network import Array
from hpcpgd.parallel.phase_names import PHASES
from hpcpgd.results.atomic import write_atomically
from hpcpgd.results.history import Epoch, Timing
from hpcpgd.results.identify import RUN
from hpcpgd.results.netcdf import put
from hpcpgd.results.record import RankPlace, RunRecord, Scores, Segment
from hpcpgd.results.result_reader import SCHEMAS

MAX_RANK_ROWS = 1024  # for more ranks, /timing holds statistics over the ranks
STATISTICS = ("minimum", "median", "maximum")
UNITS = {
    "epoch_seconds": "s",
    "validation_seconds": "s",
    "gflops": "1e9 s-1",
    "gflop_per_epoch": "1e9",
}
SEGMENT_COLUMNS = [f.name for f in fields(Segment) if f.name not in ("places", "timing")]


def write_run_file(path: Path, record: RunRecord) -> None:
    """Write the run file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written; an older file of that name is then unchanged.
    """
    # Built in memory: on a full disk HDF5 fails a second time as it closes the file, and crashes.
    image = io.BytesIO()
    with h5netcdf.File(image, "w") as file:
        _write_segments(file, record)
        _write_cost(file.create_group("cost"), record)
        if record.history:
            _write_history(file.create_group("history"), record)
        for number, segment in enumerate(record.segments, 1):
            if segment.timing.epochs:
                _write_timing(file.create_group(f"timing/segment{number}"), segment.timing)
        if record.test is not None:
            _write_test(file.create_group("test"), record.test, record.dataset)
        if record.config.target_accuracy != "none":
            _write_target(file.create_group("target"), record)
        if record.best is not None:
            _write_model(file.create_group("best_model"), record, record.best)
            file["best_model"].attrs["epoch"] = record.history.best
        if record.parameters is not None:
            _write_model(file.create_group("model"), record, record.parameters)
    with h5py.File(image, "r+") as file:
        _write_attributes(file, record)
    write_atomically(path, image.getbuffer())


def _write_attributes(file: h5py.File, record: RunRecord) -> None:
    """Write the attributes with h5py, as scalars: h5netcdf writes lists of one value."""
    last, network = record.segments[-1], record.network
    attributes: dict[str, Any] = {
        "schema": SCHEMAS[RUN],
        "run": record.run,
        "hpcpgd_version": last.hpcpgd_version,
        "git_revision": record.git_revision,
        "started": last.started,
        "argv": _as_text(record.argv),
        "config": record.config.to_toml(),
        "status": record.status,
        "backend": last.backend,
        "reduction": last.reduction,
        "dtype": network.dtype,
        "ranks": last.ranks,
        "threads": last.threads,
        "nodes": last.nodes,
        "cpu_model": last.places[0].cpu_model,
        "mpi_library": last.mpi_library,
        "blas_library": last.blas_library,
        "gpu_model": last.gpu_model,
        "gpu_library": last.gpu_library,
        "precision": record.config.matmul_precision,
        "dataset": record.dataset.name,
        "dataset_sha256": record.dataset.sha256,
        "dataset_notes": "; ".join(record.dataset.notes),
        "seed": record.config.seed,
        "n_parameters": network.n_parameters,
        "flops_per_example": network.flops_per_example,
    }
    attributes |= {f"{name}_rows": split.rows for name, split in splits_of(record.dataset).items()}
    if record.parameters is not None:
        attributes["params_sha256"] = params_sha256(network, record.parameters)
    for name, value in attributes.items():
        file.attrs[name] = _as_utf8(value) if isinstance(value, str) else value


def _as_text(argv: Sequence[str]) -> str:
    return json.dumps(argv, ensure_ascii=False)


def _as_utf8(text: str) -> str:
    """Return a text that HDF5 can store; file names need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _write_segments(file: Any, record: RunRecord) -> None:
    group = file.create_group("segments")
    group.dimensions = {"segment": len(record.segments)}
    put(group, "segment", ("segment",), np.arange(1, len(record.segments) + 1))
    for name in SEGMENT_COLUMNS:
        put(group, name, ("segment",), [getattr(segment, name) for segment in record.segments])
    for number, segment in enumerate(record.segments, 1):
        ranks = file.create_group(f"ranks/segment{number}")
        ranks.dimensions = {"rank": len(segment.places)}
        put(ranks, "rank", ("rank",), np.arange(len(segment.places)))
        for place in fields(RankPlace):
            column = [getattr(p, place.name) for p in segment.places]
            put(ranks, place.name, ("rank",), column)


def _write_cost(group: Any, record: RunRecord) -> None:
    """Write what a full step computes, moves and communicates, as the cost model counts it."""
    group.dimensions = {"product": len(record.costs), "layer": len(record.communicated)}
    put(group, "product", ("product",), [cost.name for cost in record.costs])
    put(group, "product_layer", ("product",), [cost.layer for cost in record.costs])
    put(group, "flops", ("product",), [cost.flops for cost in record.costs])
    moved = [cost.bytes_moved for cost in record.costs]
    put(group, "bytes_moved", ("product",), moved, units="B")
    put(group, "layer", ("layer",), np.arange(len(record.communicated)))
    put(group, "bytes_communicated", ("layer",), record.communicated, units="B")


def _epochs(group: Any, numbers: Sequence[int], **others: int) -> None:
    group.dimensions = {"epoch": len(numbers), **others}
    put(group, "epoch", ("epoch",), np.array(numbers, np.int64))


def _write_history(group: Any, record: RunRecord) -> None:
    history = record.history
    _epochs(group, range(1, len(history) + 1))
    for column in fields(Epoch):
        units = {"units": UNITS[column.name]} if column.name in UNITS else {}
        put(group, column.name, ("epoch",), history.column(column.name), **units)
    if record.dataset.regression:
        for split in ("train", "validation"):
            r2 = record.dataset.r2(split, history.column(f"{split}_loss"))
            put(group, f"{split}_r2", ("epoch",), r2)


def over_ranks(values: Array) -> Array:
    """Return minimum, median and maximum over axis 1 of (epoch, rank, …), in place of it."""
    low, middle, high = values.min(axis=1), np.median(values, axis=1), values.max(axis=1)
    return np.stack([low, middle, high], axis=1)


def _write_timing(group: Any, timing: Timing) -> None:
    seconds, rows = timing.seconds, timing.rows
    axis: str
    names: tuple[Any, ...]
    if seconds.shape[1] > MAX_RANK_ROWS:
        axis, names = "statistic", STATISTICS
        seconds, rows = over_ranks(seconds), over_ranks(rows)
    else:
        axis, names = "rank", tuple(range(seconds.shape[1]))
    _epochs(group, timing.epochs, phase=len(PHASES), **{axis: len(names)})
    put(group, axis, (axis,), names)
    put(group, "phase", ("phase",), list(PHASES))
    put(group, "seconds", ("epoch", axis, "phase"), seconds, units="s")
    put(group, "rows", ("epoch", axis), rows)


def _write_test(group: Any, test: Scores, data: Dataset) -> None:
    if data.regression:
        for name, value in (("loss", test.loss), ("r2", data.r2("test", test.loss))):
            group.create_variable(name, (), np.float64)[...] = value
        return
    classes = np.arange(len(test.confusion))
    group.dimensions = {"true": len(classes), "predicted": len(classes)}
    put(group, "true", ("true",), classes)
    put(group, "predicted", ("predicted",), classes)
    for name in ("loss", "accuracy"):
        group.create_variable(name, (), np.float64)[...] = getattr(test, name)
    put(group, "confusion", ("true", "predicted"), test.confusion)


def _write_target(group: Any, record: RunRecord) -> None:
    values = record.history.until(float(record.config.target_accuracy))
    for name, value in zip(("epochs", "steps", "seconds"), values, strict=True):
        group.create_variable(name, (), type(value))[...] = value
    group["seconds"].attrs["units"] = "s"


def _write_model(group: Any, record: RunRecord, flat: Array) -> None:
    network, data = record.network, record.dataset
    group.attrs["input_scale"] = data.scale
    group.attrs["input_offset"] = data.offset
    group.attrs["loss"] = network.loss
    output, names = ("target", "target_names") if data.regression else ("class", "class_labels")
    group.dimensions = {output: network.widths[-1]}
    put(group, names, (output,), list(data.class_names) or np.arange(network.widths[-1]))
    if data.target_mean:  # a prediction is output * deviation + mean
        put(group, "target_mean", ("target",), data.target_mean)
        put(group, "target_deviation", ("target",), data.target_deviation)
    if data.mean:  # the input layer is (x - mean) / deviation: scale 1, offset 0
        group.dimensions["input"] = len(data.mean)
        put(group, "input_mean", ("input",), data.mean)
        put(group, "input_deviation", ("input",), data.deviation)
    for layer in range(1, network.depth + 1):
        weights, biases = network.weights(flat, layer), network.biases(flat, layer)
        part = group.create_group(f"layer{layer}")
        part.dimensions = {"fan_in": weights.shape[0], "fan_out": weights.shape[1]}
        part.attrs["activation"] = network.functions[layer - 1]
        put(part, "weights", ("fan_in", "fan_out"), weights)
        put(part, "biases", ("fan_out",), biases)


@dataclass(frozen=True)
class RunOnDisk:
    """The run that a file is of, and how far that run has come.

    Attributes
    ----------
    argv : str
        The command line, as the file has it.
    config : dict
        The options by name.
    """

    run: str
    status: str
    argv: str
    config: dict[str, Any]

    def can_go_on(self, argv: Sequence[str]) -> bool:
        """Return whether ``argv`` is the command of the run, which is not complete."""
        same = bool(argv) and self.argv == _as_utf8(_as_text(argv))
        return same and self.status in ("running", "stopped")


def run_on_disk(path: Path) -> RunOnDisk | None:
    """Return the run that the file at ``path`` is of, None if it is not a readable run file."""
    try:
        with opened(path) as file:
            run, status, argv = (attribute(file, name, str) for name in ("run", "status", "argv"))
            config = dict(parse(attribute(file, "config", str))["train"])
    except Exception:  # whatever h5py makes of bad content
        return None
    return RunOnDisk(run, status, argv, config)
