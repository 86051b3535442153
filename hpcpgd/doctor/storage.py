"""The folder that runs are written to, and the folder of compiled kernels."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from hpcpgd.doctor.finding import Finding, ok, problem, warning
from hpcpgd.errors import OutputError
from hpcpgd.kernels.core.kernel_files import SUFFIX
from hpcpgd.machine.jit_cache import Folders
from hpcpgd.results.atomic import write_atomically

SUBJECT = "folder"
CACHE = "kernel cache"
FILE_NUMBERS = 2**17  # of 8 bytes: 1 MiB
SLOW_SECONDS = 2.0
LEAST_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Storage:
    """A folder in which an HDF5 file was written, synced, renamed, locked and read back.

    Attributes
    ----------
    refused : str
        Why the folder cannot be written, "" if it can.
    seconds : float
        Time to write and sync 1 MiB.
    unread : str
        Why HDF5 cannot open or read the file, "" if it can.
    unlocked : str
        Why a file cannot be locked for writing, "" if it can.
    free : int
        Free bytes.
    """

    folder: str
    refused: str = ""
    seconds: float = 0.0
    unread: str = ""
    unlocked: str = ""
    free: int = 0


def observe(folder: Path) -> Storage:
    """Write a file as a run does, read it back and remove it."""
    import h5py
    import numpy as np

    image, numbers = io.BytesIO(), np.arange(FILE_NUMBERS)
    with h5py.File(image, "w") as file:
        file["numbers"] = numbers
    path, shown = folder / f".hpcpgd-doctor-{secrets.token_hex(8)}.h5", str(folder)
    begin = perf_counter()
    try:
        shown = str(folder.absolute())
        write_atomically(path, image.getbuffer())
    except (OSError, OutputError) as error:  # OSError if the folder was removed
        return Storage(shown, refused=str(error).rpartition(": ")[2])
    seconds, unread = perf_counter() - begin, ""
    try:
        with h5py.File(path, "r") as file:
            if not np.array_equal(file["numbers"][...], numbers):
                unread = "the numbers that were read are not those that were written"
    except (OSError, RuntimeError) as error:
        unread = str(error)
    unlocked = _why_not_locked(path)
    with suppress(OSError):
        path.unlink()
    there = os.statvfs(folder)
    return Storage(shown, "", seconds, unread, unlocked, there.f_bavail * there.f_frsize)


def _why_not_locked(path: Path) -> str:
    try:
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.strerror or errno.errorcode.get(error.errno or 0, "unknown")
    return ""


def judge(seen: Storage) -> list[Finding]:
    """Judge whether runs can be written there and read back."""
    if seen.refused:
        cure = "make the folder, make room in it, or name another (train --output DIR/run.h5)"
        text = f"{seen.folder} cannot be written: {seen.refused}"
        return [problem(SUBJECT, text, cure, OutputError.exit_code)]
    findings = []
    if "lock" in seen.unread:
        text = f"{seen.folder}: HDF5 cannot lock files to read them: {seen.unread}"
        cure = "export HDF5_USE_FILE_LOCKING=FALSE: run files are written whole, without locks"
        findings.append(warning(SUBJECT, text, cure))
    elif seen.unread:
        text = f"{seen.folder}: a file that was just written: {seen.unread}"
        findings.append(problem(SUBJECT, text, "use another file system", OutputError.exit_code))
    if seen.unlocked:
        text = f"{seen.folder}: files cannot be locked ({seen.unlocked})"
        findings.append(warning(SUBJECT, text, "give study a --folder on another file system"))
    times = f"{seen.folder}: 1 MiB written and synced in {seen.seconds * 1e3:.0f} ms"
    if seen.seconds > SLOW_SECONDS:
        cure = "use a faster file system, or fewer checkpoints (--checkpoint-every)"
        findings.append(warning(SUBJECT, times, cure))
    room = f"{seen.free / 2**30:.1f} GiB free"
    if seen.free < LEAST_BYTES:
        findings.append(warning(SUBJECT, f"{seen.folder}: {room}", "make room before a long run"))
    return findings or [ok(SUBJECT, f"{times}, read back, locks work, {room}")]


@dataclass(frozen=True)
class Cache:
    """The folder of compiled kernels.

    Attributes
    ----------
    kernels : int
        Number of kernels for this version of the program.
    nbytes : int
        Size of these kernels.
    newest : float
        Age of the newest kernel in seconds.
    """

    folders: Folders
    kernels: int = 0
    nbytes: int = 0
    newest: float = 0.0


def observe_cache(folders: Folders) -> Cache:
    """Return the folder of compiled kernels that jobs share."""
    files = []
    if folders.read:
        with suppress(OSError):  # removed meanwhile
            files = [path.stat() for path in Path(folders.shared).glob(f"*{SUFFIX}")]
    newest = time.time() - max((file.st_mtime for file in files), default=0.0)
    nbytes = sum(file.st_size for file in files)
    return Cache(folders, len(files), nbytes, newest)


def judge_cache(seen: Cache) -> list[Finding]:
    """Judge whether kernels are compiled once or again for every job."""
    folders = seen.folders
    here = f"{folders.shared or 'no folder'}: "
    if seen.kernels:
        here += f"{seen.kernels} kernels, {seen.nbytes / 2**20:.1f} MiB, the newest "
        here += f"{_age(seen.newest)} old, will be used"
    else:
        here += "no kernels yet" if folders.read else "will not be used"
    if not folders.reason:
        return [ok(CACHE, here if seen.kernels else f"{here}: the first job compiles, 3 to 10 s")]
    if seen.kernels:
        return [ok(CACHE, f"{here}; nothing is added: {folders.reason}")]
    cure = "set NUMBA_CACHE_DIR to a folder that you can write, or fill it: hpcpgd compile"
    return [warning(CACHE, f"{here} ({folders.reason}): every job compiles again, 3 to 10 s", cure)]


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
