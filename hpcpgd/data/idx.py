"""MNIST's IDX format, plain or gzipped: big-endian header, then unsigned bytes.

The header is two zero bytes, a type code, the number of dimensions, and each dimension
as four bytes.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from hpcpgd.data import guard, idx_names
from hpcpgd.data.checks import Named
from hpcpgd.data.reading import Reading
from hpcpgd.errors import DataError

_UNSIGNED_BYTE = 0x08
_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


def read_folder(path: Path) -> Reading:
    """Read images and labels of the training set and, if present, of the test set.

    Parameters
    ----------
    path : Path
        A path that `idx_names.split_prefix` accepts.

    Returns
    -------
    Reading
        Images (rows, height, width) and labels (rows,), both uint8.

    Raises
    ------
    DataError
        If a file is missing, damaged, or not of this format.
    """
    folder, prefix = idx_names.split_prefix(path)
    files = idx_names.pairs(folder, prefix)
    parts = {
        part: (Named(read(images), str(images)), Named(read(labels), str(labels)))
        for part, (images, labels) in files.items()
    }
    first = files["train"][0]
    return Reading(parts, () if first.parent == path else (f"IDX files such as {first}",))


def read(path: Path) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Returns
    -------
    ndarray of uint8
        In the shape that the header states.

    Raises
    ------
    DataError
        If the file is missing, damaged, too short, too long or of another type.
    """
    size = guard.file_size(path)
    packed = path.suffix.lower() == ".gz"
    with guard.refuse_bad_file(path), path.open("rb") as file:
        stream: BinaryIO = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]  # reads as one
        shape = _read_header(stream, path)
        return _read_values(stream, path, shape, size, packed)


def _read_header(stream: BinaryIO, path: Path) -> tuple[int, ...]:
    magic = _exactly(stream, path, 4)
    if magic[:2] != b"\0\0" or magic[3] == 0:
        raise DataError(
            f"{path}: not an IDX file: starts with bytes {magic.hex(' ')},"
            " expected 00 00 08 and the number of dimensions"
        )
    if magic[2] != _UNSIGNED_BYTE:
        kind = _TYPES.get(magic[2], f"0x{magic[2]:02x}")
        raise DataError(f"{path}: holds IDX type {kind}, expected unsigned bytes (0x08)")
    sizes = _exactly(stream, path, 4 * magic[3])
    return tuple(int(n) for n in np.frombuffer(sizes, ">u4"))


def _exactly(stream: BinaryIO, path: Path, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise DataError(
            f"{path}: truncated: the header ends after {len(data)} bytes, expected {count}"
        )
    return data


def _read_values(
    stream: BinaryIO, path: Path, shape: tuple[int, ...], size: int, packed: bool
) -> npt.NDArray[np.uint8]:
    header = 4 + 4 * len(shape)
    expected = math.prod(shape)
    # An impossible size is refused before any memory is allocated.
    if not packed and size != header + expected:
        raise _wrong_length(path, size - header, expected)
    if expected > guard.DEFLATE_LIMIT * size:
        raise DataError(
            f"{path}: header claims {expected} bytes, more than {size} compressed bytes can hold"
        )
    guard.ensure_fits(expected, path)
    values = np.empty(expected, np.uint8)
    seen = _fill(stream, values, path)
    if seen < expected:
        raise _wrong_length(path, seen, expected)
    if stream.read(1):  # this read also makes gzip check its checksum
        raise _wrong_length(path, expected + 1, expected)
    return values.reshape(shape)


def _fill(stream: BinaryIO, values: npt.NDArray[np.uint8], path: Path) -> int:
    try:
        return guard.fill(stream, values)
    except (EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: damaged or truncated: {guard.one_line(error)};"
            f" the header claims {values.size} bytes"
        ) from error


def _wrong_length(path: Path, seen: int, expected: int) -> DataError:
    word = "truncated" if seen < expected else "oversized"
    count = f"at least {seen}" if seen > expected else f"{seen}"
    return DataError(f"{path}: {word}: {count} bytes after the header, expected {expected}")
