"""From named arrays of any format to checked `RawData`."""

from __future__ import annotations

import numpy as np

from hpcpgd.data import checks
from hpcpgd.data.classes import as_classes, renumbered
from hpcpgd.data.dataset import Array, RawData, Split
from hpcpgd.data.reading import Parts, Reading
from hpcpgd.errors import DataError

PIXELS = 128  # whole numbers are pixels if the largest is 128 to 255
WIDE, NARROW = 10.0, 0.1  # training suffers if the largest feature is above or below
MANY_ROWS = 20  # from this many rows on, nearly as many classes as rows are suspicious


def assemble(
    name: str,
    reading: Reading,
    *,
    largest: float,
    n_classes: int | None = None,
    test_fraction: float = 0.0,
    known: tuple[str, ...] = (),
) -> RawData:
    """Check the arrays of a dataset and put them together.

    Parameters
    ----------
    name : str
        The dataset's name as the user gave it.
    reading : Reading
    largest : float
        Largest magnitude that a feature may have.
    n_classes : int, optional
        Number of classes if it is known; else the training labels define them.
    test_fraction : float
        Fraction of the rows to hold out for testing if the user gives none.
    known : tuple of str
        The labels of the classes if they are known; else the training labels define them.

    Raises
    ------
    DataError
        If any check of `hpcpgd.data.checks` fails.
    """
    parts = reading.parts
    features = _same_type(parts, {p: checks.features(x, largest) for p, (x, _) in parts.items()})
    labels = {}
    for part, (x, y) in parts.items():
        checks.same_rows(x, y)
        labels[part] = checks.labels(y)
    train = features["train"]
    if not train.shape[0]:
        raise DataError(f"{parts['train'][0].source}: has no rows")
    class_names, notes = reading.class_names, list(reading.notes)
    if known:
        if reading.labelled:
            labels = {p: as_classes(y, class_names, known) for p, y in labels.items()}
        n_classes, class_names = len(known), known
    elif n_classes is None:
        classes, class_names, class_notes = renumbered(list(labels.values()), class_names)
        labels, notes = dict(zip(labels, classes, strict=True)), notes + class_notes
        n_classes = classes[0].columns or int(classes[0].classes.max()) + 1
    splits = {p: Split(features[p], checks.within(labels[p], n_classes)) for p in parts}
    scale, scale_notes = _scale(parts["train"][0].array, train)
    range_note = _range_note(train, scale)
    if len(class_names) not in (0, n_classes):
        notes.append(f"{len(class_names)} names for {n_classes} classes left out")
    if not known and train.shape[0] >= MANY_ROWS and 2 * n_classes > train.shape[0]:
        notes.append(f"{n_classes} classes in {train.shape[0]} rows: are these labels?")
    return RawData(
        name=name,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        n_classes=n_classes,
        scale=scale,
        offset=0.0,
        has_accuracy=reading.labelled,
        test_fraction=test_fraction,
        notes=(*notes, *scale_notes),
        class_names=class_names if len(class_names) == n_classes else (),
        range_note=range_note,
    )


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


def _range_note(features: Array, scale: float) -> str:
    """Return a note if training may suffer from the range of the features, else ""."""
    lowest, highest = (scale * value for value in checks.extent(features))
    size = max(-lowest, highest)
    note = f"features range from {lowest:.4g} to {highest:.4g}"
    if size > float(np.finfo(np.float32).max):
        return f"{note}, which float32 does not hold: --dtype float64 --standardise"
    if size > WIDE or 0 < size < NARROW:
        return f"{note}, on which training may be poor: --standardise scales each column"
    return ""
