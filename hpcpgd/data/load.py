"""From the name of a dataset to its data."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from hpcpgd.data import csvfile, digits, guard, idx, idx_names, locate, npz, synthetic
from hpcpgd.data.assemble import assemble
from hpcpgd.data.dataset import RawData
from hpcpgd.data.reading import Reading
from hpcpgd.errors import ConfigError, DataError, UsageError, nearest

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".dat")
MNIST_CLASSES = 10  # so that a label beyond is bad even if the files agree on it


def check_name(name: str) -> None:
    """Check the form of a dataset's name without reading data.

    Raises
    ------
    UsageError
        For an unknown word, a malformed ``synthetic:`` or a path of an unknown kind.
    """
    if _kind(name) == "synthetic":
        synthetic.parse(name)


def load(name: str, *, seed: int, dtype: str = "float32", label_column: str = "auto") -> RawData:
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
        ``float32`` or ``float64``: no feature may be beyond its numbers.
    label_column : str
        Of a text file: ``auto``, ``first``, ``last``, a header's name, or a number from 1.

    Raises
    ------
    UsageError
        If the name has no known form.
    ConfigError
        If a label column is named for data that are no text file.
    DataError
        If the data are missing or bad.
    """
    kind, path, largest = _kind(name), path_of(name), float(np.finfo(dtype).max)
    if kind == OWN:
        kind = _kind_of_file(path) or "folder"
    if kind == "text":
        guard.refuse_stand_in(path)
        reading = csvfile.read(path, label_column, largest)
        return assemble(name, reading, largest=largest, test_fraction=csvfile.TEST_FRACTION)
    if label_column != "auto":
        raise ConfigError(
            f"label-column {label_column} means something to text files alone"
            f" ({', '.join(TEXT_SUFFIXES)}), and {name} is none: leave it out"
        )
    if kind == "digits":
        return digits.load(name)
    if kind == "synthetic":
        return synthetic.load(name, seed)
    if kind in _READERS and kind != "folder":
        guard.refuse_stand_in(path)
    if kind in locate.NAMED:
        reading = idx.read_folder(locate.locate(kind))
        return assemble(name, reading, largest=largest, n_classes=MNIST_CLASSES)
    return assemble(name, _READERS[kind](path), largest=largest)


def path_of(name: str) -> Path:
    """Return the file or folder that a name stands for: itself, or what ``$HPCPGD_DATA`` has.

    A folder there holds IDX files, or one file that is read.

    Raises
    ------
    UsageError, DataError
        As `load`.
    """
    if _kind(name) != OWN:
        return Path(name)
    folder = Path(os.environ["HPCPGD_DATA"], name)
    with guard.refuse_bad_file(folder):
        files = sorted(path for path in folder.iterdir() if _kind_of_file(path))
    if not files or any(idx_names.is_idx(path.name) for path in files):
        return folder
    if len(files) > 1:
        there = ", ".join(path.name for path in files)
        raise DataError(f"{folder}: has {there}: expected one of them alone, or give its path")
    return files[0]


def _own_names() -> list[str]:
    """Return the names of the folders in ``$HPCPGD_DATA``."""
    with suppress(OSError, KeyError):
        folders = Path(os.environ["HPCPGD_DATA"]).iterdir()
        return sorted(path.name for path in folders if path.is_dir())
    return []


def _kind_of_file(path: Path) -> str:
    """Return a key of `_READERS` or ``text`` for the name of a file, "" for others."""
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if suffix == ".gz" else suffix
    if suffix in _READERS:
        return suffix
    if idx_names.is_idx(path.name):
        return "folder"
    return "text" if inner in TEXT_SUFFIXES else ""


def _kind(name: str) -> str:
    """Return ``text``, a known name, ``synthetic``, `OWN`, or a key of `_READERS`."""
    word = name.partition(":")[0]
    if name in KNOWN or word == "synthetic":
        return word
    path = Path(name)
    kind = _kind_of_file(path) or ("folder" if "/" in name and not path.suffix else "")
    if kind:
        return kind
    own = _own_names()
    if name in own:
        return OWN
    if name and _is_folder(path):  # Path("") would be this folder
        return "folder"
    if name.lower() in KNOWN:
        return name.lower()
    there = ", ".join(own) or "which has none"
    expected = (
        "expected digits, mnist, fashion-mnist, synthetic:ROWSxINxOUT, a folder's name in "
        f"$HPCPGD_DATA ({os.environ.get('HPCPGD_DATA', 'not set')}: {there}) or a path "
        f"(.npz, .h5, a table of text {', '.join(TEXT_SUFFIXES)}, folder of IDX files)"
    )
    if "." in name:
        cure = _cure(path.suffix.lower())
        raise UsageError(f"unknown kind of file {name!r}: {expected}{cure}")
    raise UsageError(f"unknown dataset {name!r}: {expected}{nearest(name, (*KNOWN, *own))}")


def _cure(suffix: str) -> str:
    """Say what to do with a file of a kind that is not read."""
    for kinds, cure in _CURES.items():
        if suffix in kinds:
            return f"; {cure}"
    return nearest(suffix, (*_READERS, *TEXT_SUFFIXES))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no permission to look; reading will say so
        return False


def _read_hdf5(path: Path) -> Reading:
    from hpcpgd.data import hdf5  # h5py is slow to import

    return hdf5.read(path)


_READERS: dict[str, Callable[[Path], Reading]] = {
    ".npz": npz.read,
    **dict.fromkeys((".h5", ".hdf5", ".nc"), _read_hdf5),
    "folder": idx.read_folder,
}
_CURES = {
    (".npy",): "numpy.savez('data.npz', x_train=..., y_train=...) keeps both arrays in one file",
    (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".gz"): (
        "files that run code as they are read are refused: load it in Python and write"
        " numpy.savez('data.npz', x_train=..., y_train=...)"
    ),
    (".parquet", ".feather", ".arrow", ".xlsx", ".xls", ".arff", ".json"): (
        "write it with pandas as .csv"
    ),
}
OWN = "own"  # the kind of a folder's name in $HPCPGD_DATA
KNOWN = ("digits", *locate.NAMED, "synthetic")
