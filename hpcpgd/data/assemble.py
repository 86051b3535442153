"""From named arrays of any format to checked `RawData`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hpcpgd.data import checks
from hpcpgd.data.classes import as_classes, renumbered
from hpcpgd.data.dataset import Array, RawData, Split
from hpcpgd.data.reading import Parts, Reading
from hpcpgd.errors import DataError

PIXELS = 128  # whole numbers are pixels if the largest is 128 to 255
WIDE, NARROW = 10.0, 0.1  # training suffers if the largest feature is above or below
MANY_ROWS = 20  # from this many rows on, fewer than four rows of a class are suspicious
NUMBERS = "--task regression predicts numbers"  # a hint of such a note


class Outputs(NamedTuple):
    """What a network is to predict: labels of each split, their number, names and notes."""

    labels: dict[str, Array]
    n_out: int
    names: tuple[str, ...]
    notes: list[str]


def assemble(
    name: str,
    reading: Reading,
    *,
    largest: float,
    n_classes: int | None = None,
    test_fraction: float = 0.0,
    known: tuple[str, ...] = (),
    regression: bool = False,
) -> RawData:
    """Check the arrays of a dataset and put them together.

    Parameters
    ----------
    name : str
        The dataset's name as the user gave it.
    largest : float
        Largest magnitude that a feature may have.
    n_classes : int, optional
        Number of classes if it is known; else the training labels define them.
    test_fraction : float
        Fraction of the rows to hold out for testing if the user gives none.
    known : tuple of str
        The labels of the classes if they are known, or the names of a regression's targets; else
        the training labels define them.
    regression : bool
        Whether labels are numbers to predict.

    Raises
    ------
    DataError
        If any check of `hpcpgd.data.checks` fails.
    """
    parts = reading.parts
    features = _same_type(parts, {p: checks.features(x, largest) for p, (x, _) in parts.items()})
    for x, y in parts.values():
        checks.same_rows(x, y)
    if regression:
        outputs = _targets(reading, largest, known)
    else:
        outputs = _classes(reading, n_classes, known)
    train = features["train"]
    splits = {p: Split(features[p], outputs.labels[p]) for p in parts}
    scale, scale_notes = _scale(parts["train"][0].array, train)
    range_notes = [_range_note("features", train, scale)]
    if regression:
        range_notes.append(_range_note("targets", splits["train"].labels, 1.0))
    return RawData(
        name=name,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        n_out=outputs.n_out,
        scale=scale,
        offset=0.0,
        labelled=reading.labelled,
        test_fraction=test_fraction,
        notes=(*reading.notes, *outputs.notes, *scale_notes),
        class_names=outputs.names if len(outputs.names) == outputs.n_out else (),
        range_note="; ".join(filter(None, range_notes)),
    )


def _refuse_no_rows(parts: Parts) -> None:
    x = parts["train"][0]
    if not x.array.shape[0]:
        raise DataError(f"{x.source}: has no rows")


def _classes(reading: Reading, count: int | None, known: tuple[str, ...]) -> Outputs:
    """Return the classes of the rows, ``count`` of them if that is known."""
    labels = {part: checks.labels(y) for part, (_, y) in reading.parts.items()}
    _refuse_no_rows(reading.parts)
    names, notes, rows = reading.class_names, list[str](), len(labels["train"].classes)
    if known:
        if reading.labelled:
            labels = {p: as_classes(y, names, known) for p, y in labels.items()}
        count, names = len(known), known
    elif count is None:
        classes, names, notes = renumbered(list(labels.values()), names)
        labels = dict(zip(labels, classes, strict=True))
        count = classes[0].columns or int(classes[0].classes.max()) + 1
    if len(names) not in (0, count):
        notes.append(f"{len(names)} names for {count} classes left out")
    if not known and rows >= MANY_ROWS and 4 * count > rows:
        notes.append(f"{count} classes in {rows} rows: are these labels? {NUMBERS}")
    return Outputs({p: checks.within(y, count) for p, y in labels.items()}, count, names, notes)


def _targets(reading: Reading, largest: float, known: tuple[str, ...]) -> Outputs:
    """Return the numbers that a regression predicts; ``known`` are the names of a model's."""
    _refuse_no_rows(reading.parts)
    if not reading.labelled:
        rows = {part: len(x.array) for part, (x, _) in reading.parts.items()}
        return Outputs(
            {p: np.zeros((n, len(known))) for p, n in rows.items()}, len(known), known, []
        )
    labels = {part: checks.targets(y, largest) for part, (_, y) in reading.parts.items()}
    count = len(known) or labels["train"].shape[1]
    for part, array in labels.items():
        if array.shape[1] != count:
            source = reading.parts[part][1].source
            raise DataError(
                f"{source}: has {array.shape[1]} targets, expected {count}: in a text file, "
                "--label-column names their columns"
            )
    return Outputs(labels, count, known or reading.class_names, [])


def _same_type(parts: Parts, features: dict[str, Array]) -> dict[str, Array]:
    """Return the splits in one dtype that holds all exactly; all need as many columns as train."""
    train, stored = features["train"], parts["train"][0].array
    for part, array in features.items():
        x = parts[part][0]
        if array.shape[1] != train.shape[1]:
            raise DataError(
                f"{x.source}: has {array.shape[1]} inputs, expected {train.shape[1]} as in training"
            )
        if (x.array.dtype.kind == "f") != (stored.dtype.kind == "f"):  # pixels are scaled
            raise DataError(
                f"{x.source}: has dtype {x.array.dtype}, expected {stored.dtype} as in training"
            )
    common = np.result_type(*(array.dtype for array in features.values()))
    return {part: array.astype(common, copy=False) for part, array in features.items()}


def _scale(stored: Array, features: Array) -> tuple[float, list[str]]:
    """Return the factor by which training multiplies features, and notes for the user."""
    lowest, highest = checks.extent(features)
    if features.dtype != np.uint8 or highest < (2 if stored.dtype == np.uint8 else PIXELS):
        return 1.0, []
    converted = "" if stored.dtype == np.uint8 else f"{stored.dtype} features taken as "
    return 1 / 255, [f"{converted}pixels {lowest} to {highest}, divided by 255"]


def _range_note(what: str, values: Array, scale: float) -> str:
    """Return a note if training may suffer from the range of features or targets, else ""."""
    lowest, highest = (scale * value for value in checks.extent(values))
    size = max(-lowest, highest)
    note = f"{what} range from {lowest:.4g} to {highest:.4g}"
    if size > float(np.finfo(np.float32).max):
        return f"{note}, which float32 does not hold: --dtype float64 --standardise"
    if size > WIDE or 0 < size < NARROW:
        return f"{note}, on which training may be poor: --standardise scales each column"
    return ""
