"""NumPy's ``.npz``, read member by member: headers are checked, and nothing is unpickled."""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from hpcpgd.data import checks, guard
from hpcpgd.data.array_names import recognise
from hpcpgd.data.checks import Named
from hpcpgd.data.dataset import Array
from hpcpgd.data.reading import Reading, reading_of
from hpcpgd.errors import DataError

_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Header(NamedTuple):
    """The header of a member's .npy data."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int  # of the header itself, in bytes


def read(path: Path, need_labels: bool = True) -> Reading:
    """Read features and labels of the training set and, if present, of the other splits.

    Raises
    ------
    DataError
        If the file is missing or damaged, or a required array is missing or of another dtype.
    """
    guard.file_size(path)
    with guard.refuse_bad_file(path), zipfile.ZipFile(path) as archive:
        members = _members(archive, path)
        keys = recognise(list(members), path, need_labels)
        wanted = {key: members[name] for key, name in keys.arrays.items()}
        if keys.class_names is not None:
            wanted["names"] = members[keys.class_names]
        # All headers first: the sum of the sizes must fit before any array is allocated.
        headers = {
            key: _header(archive, info, f"{path}: {_array_name(info)}", words=key[0] != "x")
            for key, info in wanted.items()
        }
        guard.ensure_fits(sum(info.file_size for info in wanted.values()), path)
        arrays = {
            key: Named(_array(archive, info, headers[key]), f"{path}: {_array_name(info)}")
            for key, info in wanted.items()
        }
    return reading_of(arrays, keys, keys.notes, class_names(arrays.get("names")))


def class_names(names: Named | None) -> tuple[str, ...]:
    """Return the names of the classes, from texts of shape (classes,); () for other arrays."""
    if names is None or names.array.dtype.kind not in "US" or names.array.ndim != 1:
        return ()
    texts = checks.text(names)
    return tuple(str(text) for text in texts)


def _array_name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members by the names of their arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = _array_name(info)
        if key in members:
            raise DataError(f"{path}: holds the array {key!r} twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{path}: {key!r} has compression type {info.compress_type},"
                " expected stored or deflated as by numpy.savez"
            )
        members[key] = info
    return members


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str, words: bool) -> _Header:
    """Return a member's header after a check against the size of the member."""
    with archive.open(info) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns about files that Python 2 wrote
        version = npy.read_magic(stream)
        if version not in _READ_HEADER:
            raise DataError(f"{source}: has .npy version {version}, expected 1.0 or 2.0")
        shape, fortran, dtype = _READ_HEADER[version](stream)
        header = _Header(shape, fortran, dtype, stream.tell())
    checks.numeric(dtype, source, words)
    claimed = math.prod(shape) * dtype.itemsize
    held = info.file_size - header.length
    if min(shape, default=0) < 0 or claimed != held:
        raise DataError(
            f"{source}: header claims {claimed} bytes ({dtype}, shape {shape}), file holds {held}"
        )
    if info.file_size > guard.DEFLATE_LIMIT * info.compress_size:
        raise DataError(
            f"{source}: claims {info.file_size} bytes, more than {info.compress_size}"
            " compressed bytes can hold"
        )
    return header


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header) -> Array:
    values = np.empty(info.file_size - header.length, np.uint8)
    with archive.open(info) as member:
        stream: BinaryIO = member  # type: ignore[assignment]  # reads as one
        stream.read(header.length)
        # The read beyond the last byte makes zipfile check the checksum.
        if guard.fill(stream, values) < values.size or stream.read(1):
            raise EOFError(f"{info.filename} does not have the size that the archive states")
    flat = values.view(header.dtype)
    return flat.reshape(header.shape[::-1]).T if header.fortran else flat.reshape(header.shape)
