"""From named arrays of any format to checked `RawData`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hpcpgd.data import checks
from hpcpgd.data.checks import Named
from hpcpgd.data.dataset import Array, RawData, Split
from hpcpgd.errors import DataError, nearest

PARTS = ("train", "validation", "test")
KEYS = tuple(f"{axis}_{part}" for part in PARTS for axis in "xy")

FLOATS = {np.dtype(np.float32), np.dtype(np.float64)}

Parts = Mapping[str, tuple[Named, Named]]


def check_keys(found: list[str], where: object) -> list[str]:
    """Return the names of the splits whose arrays are among the keys of a file.

    Raises
    ------
    DataError
        For an unknown key, half of a pair, or no training set.
    """
    for key in found:
        if key not in KEYS:
            raise DataError(
                f"{where}: unknown array {key!r}, expected {', '.join(KEYS)}{nearest(key, KEYS)}"
            )
    for part in PARTS:
        for key, other in ((f"x_{part}", f"y_{part}"), (f"y_{part}", f"x_{part}")):
            if (key in found or part == "train") and other not in found:
                raise DataError(f"{where}: has no array {other}")
    return [part for part in PARTS if f"x_{part}" in found]


def assemble(
    name: str, parts: Parts, *, n_classes: int | None = None, test_fraction: float = 0.0
) -> RawData:
    """Check the arrays of a dataset and put them together.

    Parameters
    ----------
    name : str
        What the user asked for.
    parts : mapping of str to (Named, Named)
        For ``train`` and, if there, ``validation`` and ``test``: features of shape
        (rows, ...) and labels of shape (rows,), (rows, 1) or one-hot (rows, n_classes).
    n_classes : int, optional
        Number of classes where it is known; else the training labels tell.
    test_fraction : float
        Part of the rows to hold out for testing where the user names none.

    Raises
    ------
    DataError
        If any check of `hpcpgd.data.checks` fails.
    """
    found = {}
    for part, (x, y) in parts.items():
        array = checks.features(x)
        checks.same_rows(x, y)
        found[part] = (array, checks.labels(y))
    train, train_labels = found["train"]
    if not train.shape[0]:
        raise DataError(f"{parts['train'][0].source}: has no rows")
    if len({array.dtype for array, _ in found.values()} & FLOATS) == 2:
        found = {part: (_widened(array), given) for part, (array, given) in found.items()}
        train = found["train"][0]
    for part in parts:
        _same_columns(train, found[part][0], parts[part][0].source)
    if n_classes is None:
        n_classes = checks.count_classes(train_labels)
    splits = {
        part: Split(array, checks.within(given, n_classes))
        for part, (array, given) in found.items()
    }
    return RawData(
        name=name,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        n_classes=n_classes,
        scale=1 / 255 if train.dtype == np.uint8 else 1.0,
        offset=0.0,
        has_accuracy=True,
        test_fraction=test_fraction,
    )


def _widened(array: Array) -> Array:
    """Return floats as float64: splits of both widths meet there, and nothing is lost."""
    return array.astype(np.float64) if array.dtype in FLOATS else array


def _same_columns(train: Array, other: Array, source: str) -> None:
    """Refuse a split whose columns or dtype (so scale) differ from those of training."""
    if other.shape[1] != train.shape[1]:
        raise DataError(
            f"{source}: has {other.shape[1]} inputs, expected {train.shape[1]} as in training"
        )
    if other.dtype != train.dtype:
        raise DataError(f"{source}: has dtype {other.dtype}, expected {train.dtype} as in training")
