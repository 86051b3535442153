"""From the name of a dataset to its data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.data import csvfile, digits, guard, idx, idx_names, locate, npz, synthetic
from hpcpgd.data.assemble import assemble
from hpcpgd.data.dataset import RawData
from hpcpgd.data.reading import ARRAYS, Reading, reading_of_program
from hpcpgd.errors import ConfigError, DataError, UsageError, nearest

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".dat")
MNIST_CLASSES = 10  # stated, so that a label above 9 is an error even if all files have it


def check_name(name: str) -> None:
    """Check the form of a dataset's name without reading data.

    Raises
    ------
    UsageError
        For an unknown word, a malformed ``synthetic:`` or a file of an unknown kind.
    """
    if _kind(name) == "synthetic":
        synthetic.parse(name)


def load(
    name: str,
    *,
    seed: int,
    dtype: str = "float32",
    label_column: str = "auto",
    classes: tuple[str, ...] = (),
    regression: bool = False,
    arrays: Mapping[str, Any] | None = None,
) -> RawData:
    """Read a dataset.

    Parameters
    ----------
    name : str
        ``digits``, ``mnist``, ``fashion-mnist``, ``synthetic:ROWSxINxOUT``, a folder's name
        in ``$HPCPGD_DATA``, or a path to an ``.npz``, ``.h5``, ``.hdf5`` or text file or a
        folder of IDX files.
    seed : int
        0 to 2**63 - 1; only synthetic data depend on it.
    dtype : str
        ``float32`` or ``float64``: no feature may be beyond its range.
    label_column : str
        For a text file: ``auto``, ``first``, ``last``, a header's name, or a number from 1; with
        ``classes`` also ``none``; for a regression several, separated by commas.
    classes : tuple of str
        The labels that count as classes 0, 1 and so on, those of a network's outputs, or the
        names of a regression's targets.  If they are given, the data need no labels.
    regression : bool
        Whether labels are numbers to predict, and not classes.
    arrays : mapping of str to ndarray, optional
        Those of the dataset `ARRAYS`, by the names that they would have in a file.

    Raises
    ------
    UsageError
        If the name has no known form.
    ConfigError
        If a label column is given for data that are not a text file, or a regression is asked
        of data whose labels are classes.
    DataError
        If the data are missing or bad.
    """
    kind, path, largest = _kind(name), path_of(name), float(np.finfo(dtype).max)
    if kind == USER_FOLDER:
        kind = _kind_of_file(path) or "folder"
    if kind == "text":
        guard.refuse_stand_in(path)
        if label_column == "none" and not classes:
            raise ConfigError("label-column none: training needs labels, expected their column")
        reading = csvfile.read(path, label_column, largest, regression)
        return assemble(
            name, reading, largest=largest, test_fraction=csvfile.TEST_FRACTION, known=classes,
            regression=regression,
        )  # fmt: skip
    if label_column != "auto":
        raise ConfigError(
            f"label-column {label_column} applies only to text files"
            f" ({', '.join(TEXT_SUFFIXES)}), and {name} is not one: leave it out"
        )
    if regression and kind in KNOWN:
        raise ConfigError(
            f"task regression does not go with dataset {name}, whose labels are classes: leave "
            "task out, or use a file with numbers to predict"
        )
    if kind in ("digits", "synthetic"):
        raw = digits.load(name) if kind == "digits" else synthetic.load(name, seed)
        if classes and classes != tuple(map(str, range(raw.n_out))):
            shown = ", ".join(classes[:5]) + ", ..." * (len(classes) > 5)
            raise DataError(f"{name}: has classes 0 to {raw.n_out - 1}, expected {shown}")
        return raw
    if kind in _READERS and kind != "folder":
        guard.refuse_stand_in(path)
    if kind in locate.NAMED:
        reading = idx.read_folder(locate.locate(kind))
        return assemble(name, reading, largest=largest, n_classes=MNIST_CLASSES, known=classes)
    reading = reading_of_program(arrays) if kind == ARRAYS else _READERS[kind](path, not classes)
    return assemble(name, reading, largest=largest, known=classes, regression=regression)


def path_of(name: str) -> Path:
    """Return the file or folder that a name means: a path, or a name in ``$HPCPGD_DATA``.

    A folder in ``$HPCPGD_DATA`` holds IDX files, or one file of a kind that can be read.

    Raises
    ------
    UsageError, DataError
        As `load`.
    """
    if _kind(name) != USER_FOLDER:
        return Path(name)
    folder = Path(os.environ["HPCPGD_DATA"], name)
    with guard.refuse_bad_file(folder):
        files = sorted(path for path in folder.iterdir() if _kind_of_file(path))
    if not files or any(idx_names.is_idx(path.name) for path in files):
        return folder
    if len(files) > 1:
        present = ", ".join(path.name for path in files)
        raise DataError(f"{folder}: has {present}: expected only one of them, or give its path")
    return files[0]


def _user_folders() -> list[str]:
    """Return the names of the folders in ``$HPCPGD_DATA``."""
    with suppress(OSError, KeyError):
        folders = Path(os.environ["HPCPGD_DATA"]).iterdir()
        return sorted(path.name for path in folders if path.is_dir())
    return []


def _kind_of_file(path: Path) -> str:
    """Return a key of `_READERS` or ``text`` for a file's name, "" for an unknown kind."""
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if suffix == ".gz" else suffix
    if suffix in _READERS:
        return suffix
    if idx_names.is_idx(path.name):
        return "folder"
    return "text" if inner in TEXT_SUFFIXES else ""


def _kind(name: str) -> str:
    """Return ``text``, a known name, ``synthetic``, `USER_FOLDER`, or a key of `_READERS`."""
    word = name.partition(":")[0]
    if name in (*KNOWN, ARRAYS) or word == "synthetic":
        return word
    path = Path(name)
    kind = _kind_of_file(path) or ("folder" if "/" in name and not path.suffix else "")
    if kind:
        return kind
    folders = _user_folders()
    if name in folders:
        return USER_FOLDER
    if name and _is_folder(path):  # Path("") would be the current folder
        return "folder"
    if name.lower() in KNOWN:
        return name.lower()
    present = ", ".join(folders) or "which has none"
    expected = (
        "expected digits, mnist, fashion-mnist, synthetic:ROWSxINxOUT, a folder's name in "
        f"$HPCPGD_DATA ({os.environ.get('HPCPGD_DATA', 'not set')}: {present}) or a path "
        f"(.npz, .h5, a text table {', '.join(TEXT_SUFFIXES)}, folder of IDX files)"
    )
    if "." in name:
        cure = _cure(path.suffix.lower())
        raise UsageError(f"unknown kind of file {name!r}: {expected}{cure}")
    raise UsageError(f"unknown dataset {name!r}: {expected}{nearest(name, (*KNOWN, *folders))}")


def _cure(suffix: str) -> str:
    """Return what to do with a file of a kind that cannot be read."""
    for kinds, cure in _CURES.items():
        if suffix in kinds:
            return f"; {cure}"
    return nearest(suffix, (*_READERS, *TEXT_SUFFIXES))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no permission to look; the error is reported when it is read
        return False


def _read_hdf5(path: Path, need_labels: bool) -> Reading:
    from hpcpgd.data import hdf5  # h5py is slow to import

    return hdf5.read(path, need_labels)


_READERS: dict[str, Callable[[Path, bool], Reading]] = {
    ".npz": npz.read,
    **dict.fromkeys((".h5", ".hdf5", ".nc"), _read_hdf5),
    "folder": lambda path, _: idx.read_folder(path),
}
_CURES = {
    (".npy",): "numpy.savez('data.npz', x_train=..., y_train=...) keeps both arrays in one file",
    (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".gz"): (
        "files that can run code when they are read are refused: load it in Python and write"
        " numpy.savez('data.npz', x_train=..., y_train=...)"
    ),
    (".parquet", ".feather", ".arrow", ".xlsx", ".xls", ".arff", ".json"): (
        "write it with pandas as .csv"
    ),
}
USER_FOLDER = "user folder"  # the kind of a folder's name in $HPCPGD_DATA
KNOWN = ("digits", *locate.NAMED, "synthetic")
