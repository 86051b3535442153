"""From the name of a dataset to its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpcpgd.data import csvfile, digits, guard, idx, idx_names, locate, npz, synthetic
from hpcpgd.data.assemble import assemble
from hpcpgd.data.dataset import RawData
from hpcpgd.data.reading import Reading
from hpcpgd.errors import ConfigError, UsageError, nearest

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".dat")
EXPECTED = (
    "expected digits, mnist, fashion-mnist, synthetic:ROWSxINxOUT"
    f" or a path (.npz, .h5, a table of text {', '.join(TEXT_SUFFIXES)}, folder of IDX files)"
)
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
        ``digits``, ``mnist``, ``fashion-mnist``, ``synthetic:ROWSxINxOUT`` or a path to
        an ``.npz``, ``.h5``, ``.hdf5`` or text file or a folder of IDX files.
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
    kind, largest = _kind(name), float(np.finfo(dtype).max)
    path = Path(name)
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


def _kind(name: str) -> str:
    """Return ``text``, a known name, ``synthetic``, or a key of `_READERS`."""
    word = name.partition(":")[0]
    if name in KNOWN or word == "synthetic":
        return word
    path = Path(name)
    suffix = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if suffix == ".gz" else suffix
    if suffix in _READERS:
        return suffix
    if idx_names.is_idx(path.name):
        return "folder"
    if inner in TEXT_SUFFIXES:
        return "text"
    bare = "/" not in name and "." not in name
    if bare and not _is_folder(path) and name.lower() in KNOWN:
        return name.lower()
    if not name or (bare and not _is_folder(path)):  # Path("") would be this folder
        raise UsageError(f"unknown dataset {name!r}: {EXPECTED}{nearest(name, KNOWN)}")
    if suffix and not _is_folder(path):
        raise UsageError(f"unknown kind of file {name!r}: {EXPECTED}{_cure(suffix)}")
    return "folder"


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
KNOWN = ("digits", *locate.NAMED, "synthetic")
