"""The file of a prediction: ``.npz``, ``.csv`` or ``.h5``, written whole or not at all."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np

from hpcpgd.kernels.core.network import Array
from hpcpgd.results.atomic import write_atomically
from hpcpgd.results.model_reader import Model
from hpcpgd.results.netcdf import put

SCHEMA = "hpcpgd.prediction/1"


def write(
    path: Path, model: Model, outputs: Array, labels: Array | None, run: str, rows: str
) -> None:
    """Write predictions and, of classes, outputs (rows, classes) in the form of the name's ending.

    ``labels`` are the true classes or targets; ``run`` and ``rows`` become attributes of an HDF5
    file.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    regression = model.network.regression
    arrays = {"predicted": model.predictions(outputs)}
    if not regression:
        arrays["outputs"] = outputs
    if labels is not None:
        arrays["true"] = labels if regression else labels.astype(np.int64)
    column, names = ("target", "target_names") if regression else ("class", "class_labels")
    image = io.BytesIO()
    if path.suffix == ".npz":
        everything: dict[str, Any] = {**arrays, names: np.array(model.labels)}
        np.savez(image, **everything)
    elif path.suffix == ".csv":
        table = _numbers if regression else _classes
        image.write(table(model.labels, arrays).encode("utf-8", "surrogateescape"))
    else:
        with h5netcdf.File(image, "w") as file:
            file.attrs.update({"schema": SCHEMA, "run": run, "rows": rows})
            file.dimensions = {"row": len(outputs), column: len(model.labels)}
            put(file, names, (column,), list(model.labels))
            for name, array in arrays.items():
                put(file, name, ("row", column)[: array.ndim], array)
    write_atomically(path, image.getbuffer())


def _numbers(names: tuple[str, ...], arrays: dict[str, Array]) -> str:
    """Return a line for each row: predicted and true numbers of each target."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([f"{name} {target}" for name in arrays for target in names])
    table.writerows(np.hstack(list(arrays.values())).tolist())
    return text.getvalue()


def _classes(names: tuple[str, ...], arrays: dict[str, Array]) -> str:
    """Return a line for each row: predicted label, true label, an output for each class."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = [name for name in ("predicted", "true") if name in arrays]
    table.writerow([*columns, *(f"output {name}" for name in names)])
    classes = [arrays[name].tolist() for name in columns]
    for outputs, *row in zip(arrays["outputs"], *classes, strict=True):
        table.writerow([*(names[k] for k in row), *map(str, outputs)])
    return text.getvalue()
