"""From the name of a dataset to its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpcpgd.data import csvfile, digits, hdf5, idx, locate, npz, synthetic
from hpcpgd.data.assemble import assemble
from hpcpgd.data.dataset import RawData
from hpcpgd.errors import UsageError, nearest

EXPECTED = (
    "expected digits, mnist, fashion-mnist, synthetic:ROWSxINxOUT"
    " or a path (.npz, .h5, .csv, folder of IDX files)"
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


def load(name: str, *, seed: int) -> RawData:
    """Read a dataset.

    Parameters
    ----------
    name : str
        ``digits``, ``mnist``, ``fashion-mnist``, ``synthetic:ROWSxINxOUT`` or a path to
        an ``.npz``, ``.h5``, ``.hdf5`` or ``.csv`` file or a folder of IDX files.
    seed : int
        0 to 2**63 - 1; only synthetic data depend on it.

    Raises
    ------
    UsageError
        If the name has no known form.
    DataError
        If the data are missing or bad.
    """
    return _LOADERS[_kind(name)](name, seed)


def _kind(name: str) -> str:
    """Return the key of `_LOADERS` for a name."""
    word = name.partition(":")[0]
    if name in KNOWN or word == "synthetic":
        return word
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in _LOADERS:
        return suffix
    bare = "/" not in name and "." not in name
    if not name or (bare and not _is_folder(path)):  # Path("") would be this folder
        raise UsageError(f"unknown dataset {name!r}: {EXPECTED}{nearest(name, KNOWN)}")
    if suffix and not _is_folder(path):
        raise UsageError(f"unknown kind of file {name!r}: {EXPECTED}{nearest(suffix, _SUFFIXES)}")
    return "folder"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no permission to look; reading will say so
        return False


def _named(name: str, seed: int) -> RawData:
    return assemble(name, idx.read_folder(locate.locate(name)), n_classes=MNIST_CLASSES)


_LOADERS: dict[str, Callable[[str, int], RawData]] = {
    "digits": lambda name, seed: digits.load(name),
    "mnist": _named,
    "fashion-mnist": _named,
    "synthetic": synthetic.load,
    "folder": lambda name, seed: assemble(name, idx.read_folder(Path(name))),
    ".npz": lambda name, seed: assemble(name, npz.read(Path(name))),
    ".h5": lambda name, seed: assemble(name, hdf5.read(Path(name))),
    ".hdf5": lambda name, seed: assemble(name, hdf5.read(Path(name))),
    ".csv": lambda name, seed: assemble(
        name, csvfile.read(Path(name)), test_fraction=csvfile.TEST_FRACTION
    ),
}
_SUFFIXES = tuple(key for key in _LOADERS if key.startswith("."))
KNOWN = ("digits", *locate.NAMED, "synthetic")
