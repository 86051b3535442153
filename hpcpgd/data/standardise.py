"""Features with mean 0 and deviation 1 in each column, by the training rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hpcpgd.data import guard
from hpcpgd.data.dataset import ROUNDING, Array, Dataset, Split, splits_of
from hpcpgd.errors import DataError

FAR = 100.0  # deviations; one value so far from the mean makes the others of its column tiny
_ROWS = 4096  # rows at a time, so that float64 copies stay small

Vector = npt.NDArray[np.float64]


def standardised(dataset: Dataset, dtype: str) -> Dataset:
    """Return a dataset whose columns have mean 0 and deviation 1 over its training rows.

    A column whose values are equal up to rounding becomes 0.  Sums are in float64, in the
    order of the rows.

    Parameters
    ----------
    dtype : str
        Dtype of the new features, whose scale is 1 and offset 0.

    Raises
    ------
    DataError
        If the new features do not fit in memory, the range of a column is not finite, or
        ``dtype`` cannot hold a new value.
    """
    splits = splits_of(dataset)
    cells = sum(split.features.size for split in splits.values())
    guard.ensure_fits(cells * np.dtype(dtype).itemsize, f"{dataset.name} standardised")
    mean, divisor, constant = _moments(dataset, dataset.train.features, "input")
    note = "each column standardised by its mean and deviation over the training rows"
    if constant:
        note += f" ({constant} of {mean.size} never vary and become 0)"
    target_mean, target_deviation = np.zeros(0), np.zeros(0)
    if dataset.regression:
        unscaled = replace(dataset, scale=1.0, offset=0.0)
        target_mean, target_deviation, _ = _moments(unscaled, dataset.train.labels, "target")
        note += "; targets, too: losses are in units of their deviation"
    scaled = {}
    for name, split in splits.items():
        features = _scaled(split.features, dataset, mean, divisor, dtype)
        note += _far(features, name, dataset.name)
        labels = split.labels
        if dataset.regression:
            labels = (labels - target_mean) / target_deviation
        scaled[name] = Split(features, labels)
    return replace(
        dataset,
        train=scaled["train"],
        validation=scaled["validation"],
        test=scaled["test"],
        scale=1.0,
        offset=0.0,
        notes=(*dataset.notes, note),
        mean=tuple(((mean - dataset.offset) / dataset.scale).tolist()),
        deviation=tuple((divisor / dataset.scale).tolist()),
        target_mean=tuple(target_mean.tolist()),
        target_deviation=tuple(target_deviation.tolist()),
    )


def _far(features: Array, split: str, name: str) -> str:
    """Return a note on the value farthest from its column's mean, "" if none is beyond `FAR`.

    A value that is not finite is refused.
    """
    if not features.size:
        return ""
    farthest = np.maximum(features.max(axis=0), -features.min(axis=0))
    column = int(farthest.argmax())  # argmax takes NaN for the largest
    if not np.isfinite(farthest[column]):
        row = int((~np.isfinite(features[:, column])).argmax())
        raise DataError(
            f"{name}: row {row} of {split} (counted from 0) has a value in input {column + 1} too"
            f" many deviations from its mean for {features.dtype}: correct it, or use --dtype"
            " float64"
        )
    if farthest[column] <= FAR:
        return ""
    where = f"input {column + 1} of {split} has a value"
    return f"; {where} {farthest[column]:.3g} deviations from its mean"


def _chunks(features: Array, dataset: Dataset) -> Iterator[tuple[int, Vector]]:
    """Yield the first row number and ``features * scale + offset`` of some rows, in float64."""
    for start in range(0, len(features), _ROWS):
        values = features[start : start + _ROWS].astype(np.float64)
        yield start, values * dataset.scale + dataset.offset


def _moments(dataset: Dataset, features: Array, what: str) -> tuple[Vector, Vector, int]:
    """Return mean and divisor of each column of training rows, and how many never vary.

    The divisor is the deviation, or 1 if a column never varies.  Values are first mapped to 0
    to 1, the lowest and the highest value of a column, so that squares do not overflow.
    """
    chunks = [(c.min(axis=0), c.max(axis=0)) for _, c in _chunks(features, dataset)]
    low = np.min([lowest for lowest, _ in chunks], axis=0)
    high = np.max([highest for _, highest in chunks], axis=0)
    with np.errstate(over="ignore"):
        span = high - low
    if not np.isfinite(span).all():
        column = int((~np.isfinite(span)).argmax())
        raise DataError(
            f"{dataset.name}: {what} {column + 1} ranges from {low[column]:.3g} to"
            f" {high[column]:.3g}, expected a range that float64 holds"
        )
    constant = span <= ROUNDING * np.maximum(np.abs(low), np.abs(high))
    unit = np.where(constant, 1.0, span)
    total = sum(((v - low) / unit).sum(axis=0) for _, v in _chunks(features, dataset))
    place = np.asarray(total) / len(features)
    squares = sum(
        (((v - low) / unit - place) ** 2).sum(axis=0) for _, v in _chunks(features, dataset)
    )
    deviation = unit * np.sqrt(np.asarray(squares) / len(features))
    divisor = np.where(constant, 1.0, deviation)
    return np.where(constant, low, low + unit * place), divisor, int(constant.sum())


def _scaled(features: Array, dataset: Dataset, mean: Vector, divisor: Vector, dtype: str) -> Array:
    out = np.empty(features.shape, dtype)
    with np.errstate(over="ignore"):  # the caller looks for infinite results
        for start, values in _chunks(features, dataset):
            out[start : start + len(values)] = (values - mean) / divisor
    return out
