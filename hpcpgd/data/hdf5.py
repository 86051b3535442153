"""HDF5 files that hold the same names as ``.npz``, each as a plain dataset of the file itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from hpcpgd.data import checks, guard
from hpcpgd.data.assemble import Parts, check_keys
from hpcpgd.data.checks import Named
from hpcpgd.data.dataset import Array
from hpcpgd.errors import DataError

if TYPE_CHECKING:
    import h5py


def read(path: Path) -> Parts:
    """Read ``x_train``, ``y_train`` and the optional other pairs.

    Returns
    -------
    mapping of str to (Named, Named)
        Features (rows, ...) and labels (rows,) or (rows, columns) of each split.

    Raises
    ------
    DataError
        If the file is missing, damaged, holds other names, or if a name leads elsewhere:
        soft and external links, virtual datasets, external storage.
    """
    import h5py

    guard.file_size(path)
    with guard.refuse_bad_file(path), h5py.File(path, "r") as file:
        keys = list(file)
        parts = check_keys(keys, path)
        datasets = {key: _numeric(file, key, f"{path}: {key}") for key in keys}
        guard.ensure_fits(sum(_memory(dataset) for dataset in datasets.values()), path)
        arrays = {key: Named(_values(d), f"{path}: {key}") for key, d in datasets.items()}
    return {part: (arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in parts}


def _numeric(file: h5py.File, key: str, source: str) -> h5py.Dataset:
    found = own_dataset(file, key, source)
    checks.numeric(found.dtype, source)
    return found


def own_dataset(file: h5py.File, key: str, source: str) -> h5py.Dataset:
    """Return a dataset after the check that its values are in this file.

    Raises
    ------
    DataError
        Naming ``source`` and what it is instead.
    """
    import h5py

    link = file.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{source}: expected a dataset of this file, found {type(link).__name__}")
    found = file[key]
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{source}: expected a dataset, found {type(found).__name__}")
    if found.is_virtual or found.external:
        kind = "a virtual dataset" if found.is_virtual else "external storage"
        raise DataError(f"{source}: expected values in this file, found {kind}")
    if found.shape is None:
        raise DataError(f"{source}: has no shape, expected one row for each example")
    if found.size and not found.id.get_storage_size():
        raise DataError(f"{source}: shape {found.shape} is stated, but no value was ever written")
    return found


def _memory(dataset: h5py.Dataset) -> int:
    """Return the bytes that reading takes: the values, and one chunk unpacked."""
    chunk = math.prod(dataset.chunks) if dataset.chunks else 0
    return int((math.prod(dataset.shape) + chunk) * dataset.dtype.itemsize)


def _values(dataset: h5py.Dataset) -> Array:
    values: Array = dataset[()]
    return values
