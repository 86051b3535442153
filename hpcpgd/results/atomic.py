"""Write a file so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from hpcpgd.errors import OutputError


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in its place.

    The file is flushed to the disk before it is renamed, and the folder after.

    Raises
    ------
    OutputError
        If anything of this fails; the temporary file is gone, ``path`` as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:  # h5py raises RuntimeError when a write fails
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path}: cannot be written: {reason}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path: Path, overwrite: bool) -> None:
    """Refuse a run file that exists or a folder that cannot take it, before the work.

    Raises
    ------
    OutputError
        Naming the file or folder and the cure.
    """
    if path.is_dir():
        raise OutputError(f"--output {path}: is a folder; name a file, such as {path}/run.h5")
    if path.exists() and not overwrite:
        raise OutputError(f"--output {path}: exists; give another name, or --overwrite")
    if not path.parent.is_dir():
        raise OutputError(f"--output {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"--output {path}: the folder {path.parent} is not writable")
