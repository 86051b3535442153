"""Features with mean 0 and deviation 1 in each column, by the training rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hpcpgd.data import guard
from hpcpgd.data.dataset import Array, Dataset, Split
from hpcpgd.errors import DataError

EPSILON = float(np.finfo(np.float64).eps)
FAR = 100.0  # deviations from the mean that leave the other rows of a column next to nothing
_ROWS = 4096  # at a time, so that float64 copies stay small

Vector = npt.NDArray[np.float64]


def standardised(dataset: Dataset, dtype: str) -> Dataset:
    """Return a dataset whose columns have mean 0 and deviation 1 over its training rows.

    A column that never varies becomes 0.  Sums are in float64, in the order of the rows.

    Parameters
    ----------
    dataset : Dataset
    dtype : str
        Of the new features, which are used as they are.

    Raises
    ------
    DataError
        If the new features do not fit in memory, or a deviation has no finite value.
    """
    splits = (dataset.train, dataset.validation, dataset.test)
    cells = sum(split.features.size for split in splits)
    guard.ensure_fits(cells * np.dtype(dtype).itemsize, f"{dataset.name} standardised")
    mean, deviation = _moments(dataset)
    constant = deviation <= dataset.train.rows * EPSILON * np.abs(mean)  # no more than rounding
    divisor = np.where(constant, 1.0, deviation)
    train, validation, test = (
        Split(_scaled(split.features, dataset, mean, divisor, dtype), split.labels)
        for split in splits
    )
    note = "each column standardised by its mean and deviation over the training rows"
    if constant.any():
        note += f" ({constant.sum()} of {mean.size} never vary and become 0)"
    farthest = np.maximum(train.features.max(axis=0), -train.features.min(axis=0))
    if farthest.max() > FAR:
        column = int(farthest.argmax())
        note += f"; input {column + 1} has a value {farthest[column]:.3g} deviations from its mean"
    return replace(
        dataset, train=train, validation=validation, test=test, scale=1.0, offset=0.0,
        notes=(*dataset.notes, note),
        mean=tuple(mean.tolist()), deviation=tuple(divisor.tolist()),
    )  # fmt: skip


def _chunks(features: Array, dataset: Dataset) -> Iterator[tuple[int, Vector]]:
    """Yield the first row and ``features * scale + offset`` of a few rows, as float64."""
    for start in range(0, len(features), _ROWS):
        values = features[start : start + _ROWS].astype(np.float64)
        yield start, values * dataset.scale + dataset.offset


def _moments(dataset: Dataset) -> tuple[Vector, Vector]:
    """Return mean and deviation of each column of the training rows, in two passes."""
    features = dataset.train.features
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(values.sum(axis=0) for _, values in _chunks(features, dataset))
        mean = np.asarray(total) / len(features)
        squares = sum(((v - mean) ** 2).sum(axis=0) for _, v in _chunks(features, dataset))
        deviation = np.sqrt(np.asarray(squares) / len(features))
    bad = ~np.isfinite(deviation)
    if bad.any():
        raise DataError(
            f"{dataset.name}: input {int(bad.argmax()) + 1} has values too large for a deviation"
            " in float64: expected at most about 1e150"
        )
    return mean, deviation


def _scaled(features: Array, dataset: Dataset, mean: Vector, divisor: Vector, dtype: str) -> Array:
    out = np.empty(features.shape, dtype)
    for start, values in _chunks(features, dataset):
        out[start : start + len(values)] = (values - mean) / divisor
    return out
