"""A dataset in memory: as read from its files, and ready for training."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SPLITS = ("train", "validation", "test")
ROUNDING = 4 * float(np.finfo(np.float64).eps)  # relative range below which values are equal


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of examples with their labels, or for a regression with their targets.

    Attributes
    ----------
    features : ndarray of uint8, float32 or float64, shape (rows, n_in), C-contiguous
        The values as stored; training uses ``features * scale + offset``.
    labels : ndarray of int32, shape (rows,), or of float64, shape (rows, n_out)
        Class of each row, 0 to ``n_out - 1``, or the numbers that a regression predicts.
    """

    features: Array
    labels: Array

    @property
    def rows(self) -> int:
        """Number of rows, one an example."""
        return len(self.features)

    def take(self, rows: npt.NDArray[np.int64]) -> Split:
        """Return a copy of the given rows, in the given order.

        Parameters
        ----------
        rows : ndarray of int64, shape (k,)
            Row numbers, each 0 to ``self.rows - 1``.
        """
        return Split(self.features[rows], self.labels[rows])


@dataclass(frozen=True, eq=False)
class Data:
    """What a dataset has both before and after the split for one run.

    Attributes
    ----------
    name : str
        The dataset's name as the user gave it.
    n_out : int
        Number of classes, or of a regression's targets.
    scale, offset : float
        Training uses ``features * scale + offset``.
    labelled : bool
        False if the labels have no meaning (synthetic data, rows to predict).
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    n_out: int
    scale: float
    offset: float
    labelled: bool

    @property
    def regression(self) -> bool:
        """Whether labels are numbers to predict, and not classes."""
        return self.train.labels.ndim == 2

    @property
    def has_accuracy(self) -> bool:
        """Whether predictions can be correct."""
        return self.labelled and not self.regression


@dataclass(frozen=True, eq=False)
class RawData(Data):
    """A dataset as read from its files, checked but not yet split.

    ``train`` includes the rows that may become validation rows.  ``validation`` and ``test``
    are None unless the files hold such a split.

    Attributes
    ----------
    test_fraction : float
        Fraction of the rows to hold out for testing if the user gives none.
    notes : tuple of str
        What was inferred when the files were read.
    class_names : tuple of str
        The files' names of the classes 0, 1 and so on, or of the targets; empty if these are
        numbers.
    range_note : str
        A note if training may suffer from the range of features that are not standardised.
    """

    test_fraction: float = 0.0
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    range_note: str = ""


@dataclass(frozen=True, eq=False)
class Dataset(Data):
    """A dataset ready for training; a split that it lacks has 0 rows.

    Attributes
    ----------
    train, validation, test : Split
        The rows, all with the same number of columns and the same dtype.
    sha256 : str
        Hash of the data before the split (see `sha256`); the seed does not enter it.
    notes, class_names : tuple of str
        As in `RawData`.
    range_note : str
        As in `RawData`; empty once the features have been standardised.
    mean, deviation : tuple of float
        The mean and deviation of each column of the features as stored over the training
        rows, if the features have been standardised by them; else empty.
    target_mean, target_deviation : tuple of float
        The same of the targets of a regression.
    variances : tuple of float
        For a regression the variance of the targets in each of ``SPLITS``, summed over them.
    """

    validation: Split
    test: Split
    sha256: str
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    range_note: str = ""
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    target_mean: tuple[float, ...] = ()
    target_deviation: tuple[float, ...] = ()
    variances: tuple[float, ...] = ()

    @property
    def n_in(self) -> int:
        """Number of input columns."""
        return int(self.train.features.shape[1])

    def r2(self, split: str, loss: Any) -> Any:
        """Return R², the explained fraction of the variance, for the mean squared error ``loss``.

        With several targets their squared errors and variances are summed.  NaN if a split has
        no rows, or if its targets are all equal.
        """
        variance = self.variances[SPLITS.index(split)]
        return 1 - loss / variance if variance > 0 else np.nan * loss


def spread(targets: Array) -> Array:
    """Return the deviations from the mean of each column; 0 where values differ by rounding."""
    if not len(targets):
        return targets
    low, high = targets.min(axis=0), targets.max(axis=0)
    constant = high - low <= ROUNDING * np.maximum(np.abs(low), np.abs(high))
    return np.where(constant, 0.0, targets - targets.mean(axis=0))


def splits_of(data: Data) -> dict[str, Split]:
    """Return the splits that are not None by their names, in the order of ``SPLITS``."""
    splits = {name: getattr(data, name) for name in SPLITS}
    return {name: split for name, split in splits.items() if split is not None}


def sha256(raw: RawData) -> str:
    """Return the hexadecimal SHA-256 of the arrays of `raw`, independent of the file format.

    Each array enters as a line ``name dtype shape`` and its little-endian bytes in C
    order, in the order train, validation, test, features before labels.
    """
    digest = hashlib.sha256()
    for name, split in splits_of(raw).items():
        _add(digest, f"x_{name}", split.features)
        _add(digest, f"y_{name}", split.labels)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, name: str, array: Array) -> None:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    shape = "x".join(str(n) for n in little.shape)
    digest.update(f"{name} {little.dtype.str} {shape}\n".encode())
    digest.update(little.data)
