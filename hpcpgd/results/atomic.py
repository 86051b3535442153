"""Write a file so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from hpcpgd.environment.fault_points import fault_point
from hpcpgd.errors import OutputError
from hpcpgd.results.locks import open_temporary

FULL = ": make room, or write to another folder"
CURES = {errno.ENOSPC: FULL, errno.EDQUOT: FULL}


def write_atomically(
    path: Path, data: bytes | memoryview, end: Callable[[], bytes] | None = None
) -> None:
    """Write ``data``, then what ``end`` returns, to a temporary file; rename it to ``path``.

    The file is flushed to the disk before it is renamed, and the folder after.  Where
    ``path`` is a symbolic link, the file that it points to is replaced.

    Raises
    ------
    OutputError
        If any of this fails; the temporary file is removed and ``path`` is unchanged.
    """
    target = Path(os.path.realpath(path))  # does not fail for a link to itself
    temporary = None
    try:
        temporary, file = open_temporary(target.parent)
        with file:
            _put(file, data)
            if end is not None:
                _begin_to_sync(file)  # goes on while the end is computed
                _put(file, end())
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        cure = CURES.get(error.errno or 0, "")
        raise OutputError(f"{path}: cannot be written: {error.strerror}{cure}") from None
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _put(file: IO[bytes], data: bytes | memoryview) -> None:
    fault_point("file", file, data)
    file.write(data)
    file.flush()


def _begin_to_sync(file: IO[bytes]) -> None:
    """Start writing to the disk without waiting, where the system has a call for it."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, named: object) -> None:
    """Make a folder and its parents; ``named`` is its name in the message.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{named}: {error.strerror}") from None


def check_writable(
    path: Path, overwrite: bool, dataset: Path | None = None, option: str = "--output"
) -> None:
    """Refuse a path that ``option`` must not replace, and a folder that cannot be written.

    Raises
    ------
    OutputError
        With the file or folder, and what to do.
    """
    try:
        problem = _problem(path, overwrite, dataset)
    except OSError as error:
        problem = f"cannot be checked: {error.strerror}"
    if problem:
        raise OutputError(f"{option} {path}: {problem}")


def _problem(path: Path, overwrite: bool, dataset: Path | None) -> str:
    if path.is_dir():
        return "is a folder; name a file in it"
    if os.path.lexists(path) and not overwrite:
        return "exists: give another name (--overwrite replaces it)"
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        return "is no regular file; give another name"
    if dataset and target.exists() and dataset.exists() and target.samefile(dataset):
        return "is a file that is read; give another name"
    folder = target.parent if path.is_symlink() else path.parent
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file, expected a folder"
    if not folder.is_dir():
        return f"there is no folder {folder}; make it first"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} is not writable; name a file in another"
    return ""
