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


def write(path: Path, model: Model, arrays: dict[str, Array], run: str, rows: str) -> None:
    """Write the arrays of a prediction in the form that the name's ending says.

    Parameters
    ----------
    arrays : dict of str to ndarray
        ``row`` (rows,), the number of each row; ``predicted``: classes (rows,) or targets
        (rows, targets); of classes ``outputs`` (rows, classes); ``true`` if rows have labels.
    run, rows : str
        Names of the run and of the rows: attributes of an HDF5 file.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    regression = model.network.regression
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
            file.dimensions = {"row": len(arrays["row"]), column: len(model.labels)}
            put(file, names, (column,), list(model.labels))
            for name, array in arrays.items():
                put(file, name, ("row", column)[: array.ndim], array)
    write_atomically(path, image.getbuffer())


def _numbers(names: tuple[str, ...], arrays: dict[str, Array]) -> str:
    """Return a line for each row: its number, predicted and true numbers of each target."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    kinds = [kind for kind in ("predicted", "true") if kind in arrays]
    table.writerow(["row", *(f"{kind} {target}" for kind in kinds for target in names)])
    values = np.hstack([arrays[kind] for kind in kinds]).tolist()
    table.writerows([n, *row] for n, row in zip(arrays["row"].tolist(), values, strict=True))
    return text.getvalue()


def _classes(names: tuple[str, ...], arrays: dict[str, Array]) -> str:
    """Return a line for each row: its number, predicted and true label, outputs of the classes."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = [name for name in ("predicted", "true") if name in arrays]
    table.writerow(["row", *columns, *(f"output {name}" for name in names)])
    lists = [arrays[name].tolist() for name in ("row", *columns)]
    for outputs, number, *row in zip(arrays["outputs"], *lists, strict=True):
        table.writerow([number, *(names[k] for k in row), *map(str, outputs)])
    return text.getvalue()
