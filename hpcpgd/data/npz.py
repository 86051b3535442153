"""NumPy's ``.npz``, read member by member so that no header is trusted and nothing unpickled."""

from __future__ import annotations

import math
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from hpcpgd.data import checks, guard
from hpcpgd.data.assemble import Parts, check_keys
from hpcpgd.data.checks import Named
from hpcpgd.data.dataset import Array
from hpcpgd.errors import DataError

_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class _Header(NamedTuple):
    """What a member's own header says."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int  # bytes of the header itself


def read(path: Path) -> Parts:
    """Read ``x_train``, ``y_train`` and the optional other pairs.

    Returns
    -------
    mapping of str to (Named, Named)
        Features (rows, ...) and labels (rows,) or (rows, columns) of each split.

    Raises
    ------
    DataError
        If the file is missing, damaged, or holds anything else than arrays of numbers.
    """
    guard.file_size(path)
    with guard.refuse_bad_file(path), zipfile.ZipFile(path) as archive:
        members = _members(archive, path)
        parts = check_keys(list(members), path)
        # All headers first: the sum of what they claim must fit before any array is made.
        headers = {key: _header(archive, info, f"{path}: {key}") for key, info in members.items()}
        guard.ensure_fits(sum(info.file_size for info in members.values()), path)
        arrays = {
            key: Named(_array(archive, info, headers[key]), f"{path}: {key}")
            for key, info in members.items()
        }
    return {part: (arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in parts}


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """Return the members by the name of their array."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if key in members:
            raise DataError(f"{path}: holds the array {key!r} twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{path}: {key!r} has compression type {info.compress_type},"
                " expected stored or deflated as by numpy.savez"
            )
        members[key] = info
    return members


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> _Header:
    """Return a member's header after a check against the size of the member."""
    with archive.open(info) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's word on files of Python 2
        version = npy.read_magic(stream)
        if version not in _READ_HEADER:
            raise DataError(f"{source}: has .npy version {version}, expected 1.0 or 2.0")
        shape, fortran, dtype = _READ_HEADER[version](stream)
        header = _Header(shape, fortran, dtype, stream.tell())
    checks.numeric(dtype, source)
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
        # The byte after the last one is asked for too: at the end zipfile checks its sum.
        if guard.fill(stream, values) < values.size or stream.read(1):
            raise EOFError(f"{info.filename} does not have the size that the archive states")
    flat = values.view(header.dtype)
    return flat.reshape(header.shape[::-1]).T if header.fortran else flat.reshape(header.shape)
