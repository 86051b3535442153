"""HDF5 files with features and labels, each a dataset whose values are in the file itself."""

from __future__ import annotations

import mmap
from pathlib import Path

import h5py
import numpy as np

from hpcpgd.data import checks, guard, packed, safe_hdf5
from hpcpgd.data.array_names import recognise
from hpcpgd.data.checks import Named
from hpcpgd.data.dataset import Array
from hpcpgd.data.hdf5_heaps import require_sound_heaps
from hpcpgd.data.reading import Reading, reading_of
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.errors import DataError

LONGEST_LABEL = 256  # characters
MOST_NAMES = 1000  # datasets and groups in a file; a file with more is refused


def read(path: Path, need_labels: bool = True) -> Reading:
    """Read features and labels of the training set and, if present, of the other splits.

    Raises
    ------
    DataError
        If the file is missing, damaged or held open by a writer, or if values are not in the
        file itself: soft and external links, virtual datasets, external storage.
    """
    guard.file_size(path)
    with guard.refuse_bad_file(path), _opened(path) as file:
        keys = recognise(_names(file, path), path, need_labels)
        datasets = {
            key: safe_hdf5.dataset(file, name, f"{path}: {name}")
            for key, name in keys.arrays.items()
        }
        texts = [key for key, d in datasets.items() if key[0] == "y" and _has_texts(d)]
        for key in datasets.keys() - set(texts):
            checks.numeric(datasets[key].dtype, f"{path}: {keys.arrays[key]}")
        guard.ensure_fits(sum(map(safe_hdf5.nbytes, datasets.values())), path)
        if texts or keys.class_names is not None:
            _require_sound_heaps(path)
        arrays = {
            key: Named(
                _texts(d, path) if key in texts else packed.values(d, f"{path}: {name}"),
                f"{path}: {name}",
            )
            for key, d in datasets.items()
            for name in [keys.arrays[key]]
        }
        notes = [*keys.notes, *packed.notes(datasets.values())]
        names = _class_names(file, keys.class_names, path)
    return reading_of(arrays, keys, notes, names)


def _opened(path: Path) -> h5py.File:
    """Open a file to read it.

    Raises
    ------
    DataError
        If another program holds it open for writing.
    """
    fault_point("parsing")
    try:
        return h5py.File(path, "r", locking="best-effort")  # some file systems have no locks
    except BlockingIOError:
        raise DataError(
            f"{path}: another program holds it open for writing: close it there, or wait for it"
        ) from None


def _names(file: h5py.File, path: Path) -> list[str]:
    """Return the names of datasets, also within groups of the root, without dimension scales."""
    names: list[str] = []
    for name in file:
        linked = isinstance(file.get(name, getlink=True), h5py.HardLink)
        if linked and isinstance(file[name], h5py.Group):
            names += [f"{name}/{inner}" for inner in file[name]]
        else:
            names.append(name)
        if len(names) > MOST_NAMES:
            raise DataError(f"{path}: holds more than {MOST_NAMES} names, expected a dataset")
    return [name for name in names if not _is_scale(file, name)]


def _is_scale(file: h5py.File, name: str) -> bool:
    """Return whether a name is a dimension scale of this file, such as xarray writes."""
    *groups, last = name.split("/")
    group = file[groups[0]] if groups else file
    if not isinstance(group.get(last, getlink=True), h5py.HardLink):
        return False
    return isinstance(group[last], h5py.Dataset) and group[last].is_scale


def _has_texts(dataset: h5py.Dataset) -> bool:
    return h5py.check_string_dtype(dataset.dtype) is not None


def _require_sound_heaps(path: Path) -> None:
    """Refuse damage on which libhdf5 would loop forever while it reads texts."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        require_sound_heaps(data, path)


def _texts(dataset: h5py.Dataset, path: Path) -> Array:
    """Return texts (rows,) as an array of ``str`` as wide as the longest text."""
    texts = list(safe_hdf5.texts(dataset))
    longest = max(map(len, texts), default=0)
    if longest > LONGEST_LABEL:
        raise DataError(
            f"{path}: {dataset.name}: has a label of {longest} characters,"
            f" expected {LONGEST_LABEL} at most"
        )
    return np.array(texts, f"U{max(longest, 1)}")


def _class_names(file: h5py.File, name: str | None, path: Path) -> tuple[str, ...]:
    """Return the texts of the array that names the classes, none if it holds no texts."""
    if name is None:
        return ()
    dataset = safe_hdf5.dataset(file, name, f"{path}: {name}")
    return tuple(safe_hdf5.texts(dataset)) if _has_texts(dataset) else ()
