"""Checks that hold for arrays of every format, and the messages when they fail."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcpgd.data.dataset import Array
from hpcpgd.errors import DataError

_CHUNK = 1 << 20  # values checked at a time, so that a check needs little memory


class Named(NamedTuple):
    """An array and where it comes from, for messages."""

    array: Array
    source: str


class Labels(NamedTuple):
    """Labels as they were found: classes (rows,), and the columns of a one-hot array."""

    classes: Array
    columns: int | None
    source: str


def numeric(dtype: np.dtype[Any], source: str) -> None:
    """Refuse a dtype that is not a plain number, before any of it is read.

    Raises
    ------
    DataError
        For objects, text, times, structures and complex numbers.
    """
    if dtype.kind not in "buif":
        raise DataError(f"{source}: has dtype {dtype}, expected numbers")


def features(x: Named) -> Array:
    """Return the features as a C-contiguous array (rows, n_in) in native byte order.

    Raises
    ------
    DataError
        For a wrong dtype or shape, for no column, and for NaN or Inf.
    """
    array, source = x
    native = array.dtype.newbyteorder("=")
    if native not in (np.uint8, np.float32, np.float64):
        raise DataError(
            f"{source}: has dtype {array.dtype}, expected uint8 (pixels 0 to 255), float32 or"
            " float64; convert with .astype('float32')"
        )
    n_in = math.prod(array.shape[1:]) if array.ndim > 1 else 0
    if n_in < 1:
        raise DataError(
            f"{source}: has shape {array.shape}, expected (rows, inputs) with 1 input or more"
        )
    flat = np.ascontiguousarray(array.reshape(array.shape[0], n_in), native)
    if native.kind == "f":
        _finite(flat, source)
    return flat


def _chunks(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield the first row number and the rows of pieces of a (rows, columns) array."""
    step = max(1, _CHUNK // max(1, array.shape[1]))
    for start in range(0, array.shape[0], step):
        yield start, array[start : start + step]


def _finite(array: Array, source: str) -> None:
    for start, chunk in _chunks(array):
        finite = np.isfinite(chunk)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise DataError(
                f"{source}: value {chunk[row, column]} at row {start + row}, column {column}"
                " (counted from 0), expected finite numbers"
            )


def same_rows(x: Named, y: Named) -> None:
    """Refuse features and labels of different lengths.

    Raises
    ------
    DataError
        If the numbers of rows differ, or the labels have no rows at all.
    """
    if y.array.ndim == 0:
        raise DataError(f"{y.source}: is a single value, expected one label for each row")
    images, count = x.array.shape[0], y.array.shape[0]
    if images != count:
        raise DataError(
            f"{x.source}: has {images} rows but {y.source} has {count} labels,"
            " expected one label for each row"
        )


def labels(y: Named) -> Labels:
    """Return the class of each row, from integers (rows,) or (rows, 1) or from one-hot rows.

    Raises
    ------
    DataError
        For a wrong shape or dtype, and for a row that is not one-hot.
    """
    array, source = y
    if array.ndim == 2 and array.shape[1] > 1:
        return Labels(_from_one_hot(array, source), array.shape[1], source)
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1] == 0):
        raise DataError(
            f"{source}: has shape {array.shape}, expected (rows,) or one-hot (rows, classes)"
        )
    if array.dtype.kind not in "ui":
        raise DataError(
            f"{source}: has dtype {array.dtype}, expected integer labels 0 to classes - 1"
        )
    return Labels(array.reshape(-1), None, source)


def _from_one_hot(array: Array, source: str) -> npt.NDArray[np.int32]:
    classes = np.empty(array.shape[0], np.int32)
    for start, chunk in _chunks(array):
        ones = np.count_nonzero(chunk == 1, axis=1)
        bad = (ones != 1) | (np.count_nonzero(chunk, axis=1) != 1)
        if bad.any():
            raise DataError(
                f"{source}: row {start + int(bad.argmax())} (counted from 0) is not one-hot,"
                f" expected exactly one 1 among {array.shape[1]} columns and zeros elsewhere"
            )
        classes[start : start + len(chunk)] = chunk.argmax(axis=1)
    return classes


def count_classes(found: Labels) -> int:
    """Return the number of classes K that the training labels define.

    Integer labels must be 0 to K-1 with every class present; one-hot labels state K by
    their columns.

    Raises
    ------
    DataError
        If a label is negative, a class is missing, or there is but one class.
    """
    if found.columns is not None:
        return found.columns
    lowest, highest = int(found.classes.min()), int(found.classes.max())
    if lowest < 0:
        row = int(found.classes.argmin())
        raise DataError(
            f"{found.source}: label {lowest} at row {row} (counted from 0), expected 0 or more"
        )
    if highest == 0:
        raise DataError(
            f"{found.source}: every row has label 0, expected 2 classes or more"
            " (in a CSV file the label is the last column)"
        )
    _every_class_present(found, highest)
    return highest + 1


def _every_class_present(found: Labels, highest: int) -> None:
    # The set of labels, not an array up to the highest one: that may be 2**63.
    present = np.unique(found.classes)
    if present.size <= highest:
        gaps = np.flatnonzero(present != np.arange(present.size, dtype=present.dtype))
        missing = int(gaps[0]) if gaps.size else present.size
        row = int(found.classes.argmax())
        raise DataError(
            f"{found.source}: label {highest} at row {row} (counted from 0), but no row has"
            f" label {missing}: expected every class from 0 to the highest label"
        )


def within(found: Labels, n_classes: int) -> npt.NDArray[np.int32]:
    """Return the labels as int32, shape (rows,), after a check that all are known classes.

    Raises
    ------
    DataError
        If a label is not 0 to ``n_classes - 1``, or a one-hot array has other columns.
    """
    if found.columns not in (None, n_classes):
        raise DataError(
            f"{found.source}: has {found.columns} one-hot columns, expected {n_classes} classes"
        )
    bad = (found.classes < 0) | (found.classes >= n_classes)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{found.source}: label {found.classes[row]} at row {row} (counted from 0),"
            f" expected 0 to {n_classes - 1}"
        )
    return np.ascontiguousarray(found.classes, np.int32)
