"""Locked files: the system releases a lock when the process that holds it ends.

The locks show which temporary files killed jobs have left, and keep two jobs from writing the
same run.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hpcpgd.errors import OutputError

DEAD_NODE_SECONDS = 120.0  # after which a file server releases the locks of a dead node
LOOK = 1.0  # seconds between two attempts to take a lock


def lock(file: IO[Any]) -> bool | None:
    """Lock a file; return False if another process holds it, None where files have no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def open_temporary(folder: Path) -> tuple[Path, IO[bytes]]:
    """Return the path of a new file, and the file, locked; ``sweep`` goes by both."""
    while True:
        # Jobs on several nodes may share the folder and have the same process ids.
        path = folder / f".hpcpgd-{secrets.token_hex(8)}.tmp"
        file = path.open("xb")
        # A sweep may have removed the file before it was locked.
        if lock(file) is not False and os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers have left."""
    with suppress(OSError):  # files that stay do no harm
        for path in list(folder.glob(".hpcpgd-*.tmp")):
            with suppress(OSError), path.open("rb+") as file:
                if lock(file):
                    path.unlink()


class FolderLock:
    """Keeps a second job from writing the checkpoints, or the file, of the same run.

    Parameters
    ----------
    folder : Path
        Made if it is missing, and removed by ``release`` if it is empty then.
    option : str
        The option that names it, for messages.
    """

    def __init__(self, folder: Path, option: str) -> None:
        self._folder, self._path = folder, folder / ".hpcpgd.lock"
        self._option = option
        self._file: IO[str] | None = None

    def take(self, patience: float = DEAD_NODE_SECONDS) -> None:
        """Take the lock; wait ``patience`` seconds for another job, which may be ending.

        Raises
        ------
        OutputError
            If another job holds it, or the folder cannot be written.
        """
        end, told = time.monotonic() + patience, False
        while not self._try():
            if time.monotonic() >= end:
                raise OutputError(f"{self._taken()}: wait for its end, or give another --output")
            if not told:
                warn(f"{self._taken()}: waiting up to {patience:.0f} s for its end")
            told = True
            time.sleep(LOOK)

    def _try(self) -> bool:
        there = False
        try:
            self._folder.mkdir(exist_ok=True)
            there = True
            file = self._open()
        except OSError as error:
            gone = isinstance(error, FileExistsError) and not os.path.lexists(self._folder)
            if gone or (there and isinstance(error, FileNotFoundError)):
                return False  # the job that held the lock has just removed the folder
            raise OutputError(
                f"{self._option}: no folder can be made or used at {self._folder}: "
                f"{error.strerror}; give another"
            ) from None
        held = lock(file)
        if held is None:
            warn(f"{self._folder}: files cannot be locked here: see that no other job writes it")
        elif not held or not os.fstat(file.fileno()).st_nlink:
            file.close()
            return False
        self._file = file
        with suppress(OSError):  # the lock is held; its file then does not name the holder
            file.truncate(0)
            file.write(f"host {socket.gethostname()}, process {os.getpid()}")
            file.flush()
        return True

    def _open(self) -> IO[str]:
        """Open the lock file; refuse a link or a pipe in its place."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.fdopen(os.open(self._path, flags, 0o666), "r+", encoding="utf-8")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise OSError(errno.EINVAL, f"{self._path.name} in it is no regular file")
        return file

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink()
                self._folder.rmdir()
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _taken(self) -> str:
        with suppress(OSError):
            holder = self._path.read_text(encoding="utf-8", errors="replace")[:200]
            return f"{self._folder}: another job ({holder}) writes there"
        return f"{self._folder}: another job writes there"


def warn(text: str) -> None:
    """Print a warning on standard error."""
    print(f"hpcpgd train: warning: {text}", file=sys.stderr, flush=True)
