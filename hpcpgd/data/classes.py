"""From the labels of a file, which are any numbers or words, to classes 0, 1 and so on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpcpgd.data.checks import Labels
from hpcpgd.errors import DataError

_SHOWN = 5  # labels shown at each end of a long list


def renumbered(
    splits: Sequence[Labels], names: tuple[str, ...]
) -> tuple[list[Labels], tuple[str, ...], list[str]]:
    """Return labels as classes 0 to K - 1, the names of the classes, and notes for the user.

    The training labels define the classes, in sorted order.

    Parameters
    ----------
    splits : sequence of Labels
        The labels of each split, training first.  One-hot labels stay as they are.
    names : tuple of str
        The file's names of the classes 0, 1 and so on; empty if it has none.

    Raises
    ------
    DataError
        If there is only one class, or another split has a label that training lacks.
    """
    train = splits[0]
    for labels in splits:
        if "that are words" in (_form(labels), _form(train)):
            _refuse_other_form(labels, train)
    if train.columns is not None:
        return list(splits), names, []
    present = np.unique(train.classes)
    if present.size < 2:
        raise DataError(
            f"{train.source}: every row has label {present[0]}, expected 2 classes or more"
            " (in a text file, --label-column names the column of the labels)"
        )
    words = present.dtype.kind == "U"
    if not words and np.array_equal(present, np.arange(present.size, dtype=present.dtype)):
        return list(splits), names, []
    for labels in splits:  # only labels 0, 1 and so on mean the same as one-hot columns
        _refuse_other_form(labels, train)
    listed = _listed([str(label) for label in present])
    note = f"labels {listed} are classes 0 to {present.size - 1}"
    return [_renumber(labels, present) for labels in splits], _named(present, names), [note]


def as_classes(labels: Labels, names: tuple[str, ...], classes: tuple[str, ...]) -> Labels:
    """Return labels as their positions among ``classes``, the labels of a network's outputs.

    ``names`` are the file's names of the labels 0, 1 and so on.  One-hot labels stay.

    Raises
    ------
    DataError
        If a label is none of ``classes``.
    """
    if labels.columns is not None:
        return labels
    present, places = np.unique(labels.classes, return_inverse=True)
    texts = _named(present, names)
    for label, text in enumerate(texts):
        if text not in classes:
            row = int((places == label).argmax())
            raise DataError(
                f"{labels.source}: label {text} at row {row} (counted from 0), expected one of"
                f" those of the network: {_listed(classes)}"
            )
    positions = np.array([classes.index(text) for text in texts], np.int64)
    return Labels(positions[places.reshape(-1)], None, labels.source)


def _named(present: npt.NDArray[np.generic], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of sorted labels: by number, or else in order if there are as many."""
    numbers = present.dtype.kind != "U" and present.size > 0
    if numbers and int(present[0]) >= 0 and int(present[-1]) < len(names):
        return tuple(names[int(label)] for label in present)
    return names if len(names) == present.size else tuple(str(label) for label in present)


def _form(labels: Labels) -> str:
    """Return the form of the labels, as a clause for messages."""
    if labels.columns is not None:
        return "that are one-hot"
    return "that are words" if labels.classes.dtype.kind == "U" else "that are numbers"


def _refuse_other_form(labels: Labels, train: Labels) -> None:
    if _form(labels) != _form(train):
        raise DataError(
            f"{labels.source}: has labels {_form(labels)}, expected labels {_form(train)} as in"
            f" {train.source}"
        )


def _renumber(labels: Labels, present: npt.NDArray[np.generic]) -> Labels:
    """Return a split's labels as their positions among the sorted training labels."""
    places = np.minimum(np.searchsorted(present, labels.classes), present.size - 1)
    bad = present[places] != labels.classes
    if bad.any():
        row = int(bad.argmax())
        raise DataError(
            f"{labels.source}: label {labels.classes[row]} at row {row} (counted from 0),"
            f" expected one of the training rows: {_listed([str(label) for label in present])}"
        )
    return Labels(places, None, labels.source)


def _listed(labels: Sequence[str]) -> str:
    """Return labels separated by commas; of a long list only the first and the last ones."""
    shown = [label[:20] for label in labels]
    if len(shown) > 2 * _SHOWN:
        shown = [*shown[:_SHOWN], "...", *shown[-_SHOWN:]]
    return ", ".join(shown)
