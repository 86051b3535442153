"""Packed values by netCDF's convention: whole numbers, one of which marks missing values."""

from __future__ import annotations

from collections.abc import Iterable

import h5py
import numpy as np

from hpcpgd.data import guard
from hpcpgd.data.dataset import Array
from hpcpgd.errors import DataError

SCALE, OFFSET = "scale_factor", "add_offset"
MISSING = ("_FillValue", "missing_value")


def values(dataset: h5py.Dataset, source: str) -> Array:
    """Return a dataset's values, ``stored * scale_factor + add_offset`` if it has these.

    Raises
    ------
    DataError
        If an attribute is not a single number, a value is marked as missing, or the unpacked
        values do not fit in memory.
    """
    array: Array = dataset[()]
    for name in MISSING:
        mark = _number(dataset, name, source)
        missing = np.asarray(array == mark) if mark is not None else np.zeros(0, bool)
        if missing.any():
            place = tuple(int(i) for i in np.argwhere(missing)[0])
            raise DataError(
                f"{source}: the value at {place} (counted from 0) is missing, by {name} = {mark:g}:"
                " fill it in, or leave out its row"
            )
    scale, offset = (_number(dataset, name, source) for name in (SCALE, OFFSET))
    if scale is None and offset is None:
        return array
    guard.ensure_fits(2 * 8 * array.size, source)  # float64 product and sum
    return np.asarray(array * (1.0 if scale is None else scale) + (offset or 0.0))


def notes(datasets: Iterable[h5py.Dataset]) -> list[str]:
    """Return which datasets were unpacked, for the user."""
    return [
        f"{dataset.name.lstrip('/')} unpacked by its {SCALE} and {OFFSET}"
        for dataset in datasets
        if SCALE in dataset.attrs or OFFSET in dataset.attrs
    ]


def _number(dataset: h5py.Dataset, name: str, source: str) -> float | None:
    """Return an attribute that is one number, None if the dataset lacks it."""
    if name not in dataset.attrs:
        return None
    attribute = dataset.attrs.get_id(name)
    single = attribute.get_space().get_simple_extent_npoints() == 1
    if single and attribute.dtype.kind in "iuf":  # checked before the attribute is read
        return float(np.asarray(dataset.attrs[name]).reshape(-1)[0])
    raise DataError(f"{source}: attribute {name} is expected to be one number")
