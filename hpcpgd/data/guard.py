"""Protection against files that are missing, damaged or malicious.

Sizes are checked before memory is allocated.  Any exception that a parser raises on a bad file
becomes one `DataError` of one line.
"""

from __future__ import annotations

import csv
import gzip
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from hpcpgd.environment import memory_limits
from hpcpgd.errors import DataError, printable

DEFLATE_LIMIT = 1032  # bytes that one byte of a deflate stream can expand to at most
_PIECE = 1 << 20  # bytes read at a time

# All exceptions of gzip, zipfile, csv, numpy's header reader, h5py and open() on bad input.
_PARSER_ERRORS = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, SyntaxError),
    *(OverflowError, RecursionError, IndexError, AttributeError, ZeroDivisionError),
    *(csv.Error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
# First bytes of other kinds of files, in lower case: their suffixes, their kind, and the cure.
_OTHER_KINDS = {
    b"\x1f\x8b": ((".gz",), "packed by gzip", "gunzip it, or end the name of a table in .gz"),
    b"pk\x03\x04": ((".npz", ".zip"), "a zip archive, perhaps of Excel", "save the table as csv"),
    b"cdf\x01": ((), "netCDF of version 3", "convert it to netCDF 4: nccopy -k nc4"),
    b"cdf\x02": ((), "netCDF of version 3", "convert it to netCDF 4: nccopy -k nc4"),
    b"\x89hdf": ((".h5", ".hdf5", ".nc", ".hdf"), "an HDF5 file", "end its name in .h5"),
    b"\x93numpy": ((".npy",), "a single array", "save features and labels in one .npz"),
}
# The exceptions that a truncated file causes.
_CUT_OFF = (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error)


def one_line(error: object) -> str:
    """Return the text of an error without line breaks, or the name of its type."""
    return printable(str(error)) or type(error).__name__


@contextmanager
def refuse_bad_file(path: Path | str) -> Iterator[None]:
    """Turn any exception of a parser in the body into one `DataError` that names the file.

    Raises
    ------
    DataError
        In place of the parser's exception.
    """
    try:
        yield
    except MemoryError as error:
        raise DataError(f"{path}: {memory_limits.shortage(error)}") from error
    except _PARSER_ERRORS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        cure = ": is it whole? copy or download it again" if isinstance(error, _CUT_OFF) else ""
        raise DataError(f"{path}: cannot be read: {one_line(reason)}{cure}") from error


def file_size(path: Path) -> int:
    """Return the size in bytes of a regular file.

    Raises
    ------
    DataError
        If there is no such file, or if it is a folder, a pipe or a device.
    """
    with refuse_bad_file(path):
        try:
            status = path.stat()
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise DataError(f"{path}: is {kind}, expected a file")
    return status.st_size


def refuse_stand_in(path: Path) -> None:
    """Refuse files of another kind, such as a web page or a Git LFS pointer in a file's place.

    Raises
    ------
    DataError
        If the first bytes are those of another kind; the message names it and the cure.
    """
    file_size(path)
    with refuse_bad_file(path), path.open("rb") as file:
        begin = file.read(64).lstrip().lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        raise DataError(f"{path}: is a web page, perhaps an error page: download the file again")
    if begin.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: is a Git LFS pointer, not the file: run git lfs pull")
    for magic, (suffixes, kind, cure) in _OTHER_KINDS.items():
        if begin.startswith(magic) and path.suffix.lower() not in suffixes:
            raise DataError(f"{path}: is {kind}, by its first bytes: {cure}")


def ensure_fits(nbytes: int, what: Path | str) -> None:
    """Refuse data larger than the memory that is free for this process.

    Parameters
    ----------
    nbytes : int
        Bytes needed.
    what : Path or str
        What needs them, for the message.

    Raises
    ------
    DataError
        If `nbytes` exceeds the physical memory that this process does not use yet, or what is
        free under the tightest limit.
    """
    memory, taken = memory_limits.physical_memory(), memory_limits.taken()
    limit = memory_limits.tightest()
    if nbytes > memory - taken:
        raise DataError(
            f"{what}: needs {nbytes / 2**30:.1f} GiB of memory, this machine has"
            f" {memory / 2**30:.1f} GiB for this job, {taken / 2**30:.1f} GiB are taken"
        )
    if limit is not None and nbytes > limit.free:
        raise DataError(f"{what}: needs {memory_limits.size(nbytes)} of memory, {limit.describe()}")


def fill(stream: BinaryIO, buffer: npt.NDArray[np.uint8]) -> int:
    """Read from `stream` until `buffer`, shape (n,), is full or the stream ends.

    Returns
    -------
    int
        Bytes read.
    """
    view = buffer.data
    seen = 0
    while seen < buffer.size:
        # In pieces: readinto of a compressed stream allocates a second buffer of that size.
        count = stream.readinto(view[seen : seen + _PIECE])  # type: ignore[attr-defined]  # BinaryIO lacks it
        if not count:
            break
        seen += count
    return seen
