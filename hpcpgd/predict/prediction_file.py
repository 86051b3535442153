"""The file of a prediction: ``.npz``, ``.csv`` or ``.h5``, written whole or not at all."""

from __future__ import annotations

import csv
import io
from pathlib import Path

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
    """Write classes and outputs (rows, classes) in the form that the name's ending says.

    ``labels`` are the true classes; ``run`` and ``rows`` become attributes of an HDF5 file.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    arrays = {"predicted": outputs.argmax(axis=1), "outputs": outputs}
    if labels is not None:
        arrays["true"] = labels.astype(np.int64)
    image = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(image, **arrays, class_labels=np.array(model.labels))
    elif path.suffix == ".csv":
        image.write(_table(model.labels, arrays).encode("utf-8", "surrogateescape"))
    else:
        with h5netcdf.File(image, "w") as file:
            file.attrs.update({"schema": SCHEMA, "run": run, "rows": rows})
            file.dimensions = {"row": len(outputs), "class": len(model.labels)}
            put(file, "class_labels", ("class",), list(model.labels))
            for name, array in arrays.items():
                put(file, name, ("row", "class")[: array.ndim], array)
    write_atomically(path, image.getbuffer())


def _table(names: tuple[str, ...], arrays: dict[str, Array]) -> str:
    """Return a line for each row: predicted label, true label, an output for each class."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = [name for name in ("predicted", "true") if name in arrays]
    table.writerow([*columns, *(f"output {name}" for name in names)])
    classes = [arrays[name].tolist() for name in columns]
    for outputs, *row in zip(arrays["outputs"], *classes, strict=True):
        table.writerow([*(names[k] for k in row), *map(str, outputs)])
    return text.getvalue()
