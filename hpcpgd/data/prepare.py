"""Splitting a dataset for one run: test rows, training rows, validation rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hpcpgd.data.dataset import Dataset, RawData, Split, sha256, splits_of, spread
from hpcpgd.data.rng_streams import STREAM_SPLIT, STREAM_TEST
from hpcpgd.data.standardise import standardised
from hpcpgd.errors import ConfigError, DataError

VALIDATION_PARTS = 6  # the paper splits 5:1 into training and validation


def prepare(
    raw: RawData,
    *,
    seed: int,
    train_rows: int | None,
    test_fraction: float | None,
    standardise: str | None = None,
) -> Dataset:
    """Split a dataset; with equal arguments every rank gets the same rows.  Not collective.

    If the data have no test set, test rows are held out first.  The remaining rows are put in
    an order drawn from the seed, and the first `train_rows` of them are for training.  If the
    data have no validation set, the rows that follow form it, a fifth as many.

    Parameters
    ----------
    raw : RawData
        The data as read.
    seed : int
        0 to 2**63 - 1.
    train_rows : int or None
        Rows to train on; None takes all that are not in the validation set.
    test_fraction : float or None
        Fraction of the rows to hold out, 0 to below 1; None takes the format's default.
    standardise : str, optional
        If given, the run's dtype: each column is scaled to mean 0 and deviation 1 over the
        training rows, and the features are stored in this dtype.  So are a regression's targets.

    Returns
    -------
    Dataset
        A split that the data lack has 0 rows.

    Raises
    ------
    ConfigError
        If `train_rows` is more than remain beside the test and validation sets, or if
        `test_fraction` is given for data that have a test set.
    DataError
        If no training row is left.
    """
    rest, test = _hold_out_test(raw, seed, test_fraction)
    train, validation = _split(raw, rest, seed, train_rows)
    if not train.rows:
        raise DataError(
            f"{raw.name}: no training row is left of {raw.train.rows}"
            f" after {test.rows} for testing, expected 1 or more"
        )
    range_note = raw.range_note if standardise is None else ""
    notes = (*raw.notes, *_missing_classes(raw, train), *filter(None, [range_note]))
    dataset = Dataset(
        name=raw.name,
        train=train,
        validation=validation,
        test=test,
        n_out=raw.n_out,
        scale=raw.scale,
        offset=raw.offset,
        labelled=raw.labelled,
        sha256=sha256(raw),
        notes=notes,
        class_names=raw.class_names,
        range_note=range_note,
    )
    dataset = dataset if standardise is None else standardised(dataset, standardise)
    return replace(dataset, variances=_variances(dataset)) if dataset.regression else dataset


def _variances(dataset: Dataset) -> tuple[float, ...]:
    """Return the variance of the targets of each split, summed over them; NaN without rows."""
    targets = [split.labels for split in splits_of(dataset).values()]
    with np.errstate(over="ignore"):  # then R² is NaN
        return tuple(
            float((spread(y) ** 2).mean(axis=0).sum()) if len(y) else np.nan for y in targets
        )


def most_train_rows(rows: int, own_validation: bool) -> int:
    """Return how many of `rows` can be trained on; all if there is a separate validation set."""
    return rows if own_validation else rows - rows // VALIDATION_PARTS


def _missing_classes(raw: RawData, train: Split) -> list[str]:
    """Return a note on the classes without a training row, unless labels have no meaning."""
    if not raw.has_accuracy:
        return []
    missing = np.flatnonzero(np.bincount(train.labels, minlength=raw.n_out) == 0)
    names = raw.class_names or tuple(map(str, range(raw.n_out)))
    shown = ", ".join(names[k][:20] for k in missing[:5]) + (", ..." if missing.size > 5 else "")
    return [f"no training row of class {shown}"] if missing.size else []


def _order(rows: int, seed: int, stream: int) -> npt.NDArray[np.int64]:
    from hpcpgd.kernels.core.permutation import permutation  # numba is slow to import

    return permutation(rows, seed, stream)


def _hold_out_test(raw: RawData, seed: int, test_fraction: float | None) -> tuple[Split, Split]:
    """Return the remaining rows and the test rows."""
    if raw.test is not None:
        if test_fraction is not None:
            raise ConfigError(
                f"test fraction {test_fraction:g}: {raw.name} has a test set of"
                f" {raw.test.rows} rows, expected no test fraction"
            )
        return raw.train, raw.test
    fraction = raw.test_fraction if test_fraction is None else test_fraction
    if not 0 <= fraction < 1:
        raise ConfigError(f"test fraction {fraction:g}: expected a number from 0 to below 1")
    count = round(fraction * raw.train.rows)
    if not count:
        return raw.train, raw.train.take(np.arange(0))
    order = _order(raw.train.rows, seed, STREAM_TEST)
    return raw.train.take(order[count:]), raw.train.take(order[:count])


def _split(raw: RawData, rest: Split, seed: int, train_rows: int | None) -> tuple[Split, Split]:
    """Return the training and the validation rows."""
    most = most_train_rows(rest.rows, raw.validation is not None)
    if train_rows is not None and not 1 <= train_rows <= most:
        less = "" if most == rest.rows else f", {most} without the validation set"
        raise ConfigError(
            f"train rows {train_rows}: {raw.name} has {rest.rows} training rows{less},"
            f" expected 1 to {most}"
        )
    if raw.validation is not None and train_rows is None:
        return rest, raw.validation
    order = _order(rest.rows, seed, STREAM_SPLIT)
    count = most if train_rows is None else train_rows
    train, others = rest.take(order[:count]), order[count:]
    if raw.validation is not None:
        return train, raw.validation
    return train, rest.take(others[: count // (VALIDATION_PARTS - 1)])
