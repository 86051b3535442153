"""Checks of arrays, the same for every format, and their error messages."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcpgd.data.dataset import Array
from hpcpgd.errors import DataError

_CHUNK = 1 << 20  # values checked at a time, which keeps temporary arrays small


class Named(NamedTuple):
    """An array and its origin, a file and a name in it, for messages."""

    array: Array
    source: str


class Labels(NamedTuple):
    """Labels as read: classes (rows,), and the columns of a one-hot array, else None."""

    classes: Array
    columns: int | None
    source: str


def numeric(dtype: np.dtype[Any], source: str, words: bool = False) -> None:
    """Refuse a dtype that is not a plain number, before any value is read.

    Parameters
    ----------
    source : str
        The array's origin, for the message.
    words : bool
        Whether texts of a fixed length are accepted, too, as for labels.

    Raises
    ------
    DataError
        For objects, other text, times, structures and complex numbers.
    """
    if dtype.kind not in ("buifUS" if words else "buif"):
        expected = "numbers or texts of a fixed length" if words else "numbers"
        cure = "; convert with .astype(str)" if words and dtype.kind == "O" else ""
        raise DataError(f"{source}: has dtype {dtype}, expected {expected}{cure}")


def features(x: Named, largest: float) -> Array:
    """Return the features as a C-contiguous array (rows, n_in) in native byte order.

    Integers and half floats become the shortest of uint8, float32 and float64 that holds
    them exactly.

    Raises
    ------
    DataError
        For a wrong shape, for no column, and for a value that is not finite or whose
        magnitude exceeds ``largest``.
    """
    array, source = x
    n_in = math.prod(array.shape[1:]) if array.ndim > 1 else 0
    if n_in < 1:
        raise DataError(
            f"{source}: has shape {array.shape}, expected (rows, inputs) with 1 input or more"
        )
    flat = array.reshape(array.shape[0], n_in)
    flat = np.ascontiguousarray(flat, _kept(flat, source))
    if flat.dtype.kind == "f":
        _finite(flat, source, largest)
    return flat


def _kept(array: Array, source: str) -> np.dtype[Any]:
    """Return the dtype in which features (rows, n_in) are kept."""
    native = array.dtype.newbyteorder("=")
    if native in (np.uint8, np.float32, np.float64):
        return native
    if native.kind in "bf":
        if native.itemsize > 8:
            raise DataError(f"{source}: has dtype {native}, expected at most float64")
        return np.dtype(np.float32)
    lowest, highest = extent(array)
    if lowest >= 0 and highest <= 255:
        return np.dtype(np.uint8)
    if max(-lowest, highest) <= 2**24:
        return np.dtype(np.float32)
    if max(-lowest, highest) > 2**53:
        raise DataError(
            f"{source}: has whole numbers from {lowest} to {highest}, which float64 does not hold:"
            " expected at most 2**53"
        )
    return np.dtype(np.float64)


def extent(array: Array) -> tuple[Any, Any]:
    """Return the lowest and the highest value of features (rows, n_in); 0, 0 without rows."""
    if not array.size:
        return 0, 0
    return array.min().item(), array.max().item()


def _chunks(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield pieces of a (rows, columns) array, each with the number of its first row."""
    step = max(1, _CHUNK // max(1, array.shape[1]))
    for start in range(0, array.shape[0], step):
        yield start, array[start : start + step]


def _finite(array: Array, source: str, largest: float) -> None:
    bounded = largest < float(np.finfo(array.dtype).max)
    for start, chunk in _chunks(array):
        good = np.abs(chunk) <= largest if bounded else np.isfinite(chunk)  # false for NaN, too
        if not good.all():
            row, column = np.argwhere(~good)[0]
            raise DataError(
                f"{source}: value {chunk[row, column]} at row {start + row}, column {column}"
                f" (counted from 0), {beyond(chunk[row, column], largest)}"
            )


def beyond(value: Any, largest: float) -> str:
    """Return what is wrong with a value that is not finite, or beyond ``largest``."""
    if not np.isfinite(value):
        return "expected finite numbers"
    return f"is beyond the largest number of float32, {largest:.2g}: use --dtype float64"


def same_rows(x: Named, y: Named) -> None:
    """Refuse features and labels of different lengths.

    Raises
    ------
    DataError
        If the numbers of rows differ, or the labels have no rows at all.
    """
    if y.array.ndim == 0:
        raise DataError(f"{y.source}: is a single value, expected one label for each row")
    rows, count = x.array.shape[0], y.array.shape[0]
    if rows != count:
        raise DataError(
            f"{x.source}: has {rows} rows but {y.source} has {count} labels,"
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
    flat = array.reshape(-1)
    if flat.dtype.kind in "US":
        flat = text(Named(flat, source))
    if flat.dtype.kind in "fb":
        flat = _whole(flat, source)
    return Labels(flat, None, source)


def targets(y: Named, largest: float) -> npt.NDArray[np.float64]:
    """Return the numbers that a regression predicts, float64 (rows, targets).

    Raises
    ------
    DataError
        For a wrong shape or dtype, and for a value that is not finite or exceeds ``largest``.
    """
    array, source = y
    if array.ndim > 2 or 0 in array.shape[1:]:
        raise DataError(f"{source}: has shape {array.shape}, expected (rows,) or (rows, targets)")
    if array.dtype.kind not in "buif":
        raise DataError(f"{source}: has labels that are words: --task classification predicts them")
    flat = np.ascontiguousarray(array.reshape(len(array), *array.shape[1:] or (1,)), np.float64)
    _finite(flat, source, largest)
    return flat


def text(y: Named) -> Array:
    """Return texts (rows,) of a fixed length as ``str``.

    Raises
    ------
    DataError
        If one of them is blank, not UTF-8, or not printable.
    """
    array, source = y
    try:
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: is not UTF-8 text: {error.reason}") from None
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if array.dtype.itemsize and (array.view(np.uint32) > sys.maxunicode).any():
        raise DataError(f"{source}: holds numbers that are not Unicode characters")
    array = np.char.strip(array)
    words = [str(word) for word in np.unique(array)]
    for word in words:
        if not word.strip() or not word.isprintable():
            row = int((array == word).argmax())
            kind = "not printable text" if word.strip() else "blank: fill it in, or remove the row"
            raise DataError(f"{source}: the label at row {row} (counted from 0) is {kind}")
    return array


def _whole(array: Array, source: str) -> npt.NDArray[np.int64]:
    """Return floats that are whole numbers, or booleans, as integers."""
    values = array.astype(np.promote_types(array.dtype, np.float64))  # 2**53 is beyond float16
    bad = ~((np.abs(values) < 2**53) & (values == np.rint(values)))
    if np.any(bad):
        row = int(np.argmax(bad))
        raise DataError(
            f"{source}: label {array[row]} at row {row} (counted from 0), expected whole numbers"
            " (--task regression predicts any numbers)"
        )
    return array.astype(np.int64)


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


def within(unchecked: Labels, n_classes: int) -> npt.NDArray[np.int32]:
    """Return the labels as int32, shape (rows,), after a check that all are known classes.

    Raises
    ------
    DataError
        If a label is not 0 to ``n_classes - 1``, or the number of one-hot columns differs.
    """
    classes, columns, source = unchecked
    if columns not in (None, n_classes):
        raise DataError(f"{source}: has {columns} one-hot columns, expected {n_classes} classes")
    bad = (classes < 0) | (classes >= n_classes)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{source}: label {classes[row]} at row {row} (counted from 0),"
            f" expected 0 to {n_classes - 1}"
        )
    return np.ascontiguousarray(classes, np.int32)
