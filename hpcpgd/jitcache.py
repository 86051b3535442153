"""Where numba keeps compiled kernels: one rank a node compiles, the others load.

numba invalidates a compiled function when its own file changes, but not when a function
that it calls from another file does.  The folder's name therefore holds a hash of all
kernel sources.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hpcpgd import mpi
from hpcpgd.errors import HpcpgdError, UnavailableError
from hpcpgd.folders import user_cache

TEMPORARY = "hpcpgd-numba-"  # how the name of a private folder begins
COLD_CACHE_BYTES = 8 * 2**20  # more than all kernels take, compiled

T = TypeVar("T")


def sources_hash() -> str:
    """Return a short hash of the kernels' sources."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "kernels").glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():  # numba unpickles what it finds there
            return False
        room = 1 if any(folder.iterdir()) else COLD_CACHE_BYTES
        with tempfile.TemporaryFile(dir=folder) as probe:
            # An empty file can be made on a full disk; what is to come cannot.
            probe.write(bytes(room))
            probe.flush()
            os.fsync(probe.fileno())
            return True
    except OSError:
        return False


def choose_folder() -> Path:
    """Return a folder that can be written; a private temporary one if the cache cannot."""
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    cache = user_cache()
    base = Path(wanted) if wanted else cache and cache / "numba"
    if base is not None:
        # A job started by another finds the folder already chosen.
        folder = base if base.name == sources_hash() else base / sources_hash()
        if _writable(folder):
            return folder
    # Compiled code is loaded from here, so nobody else may write to it: mode 0700.
    try:
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY))
    except OSError as error:
        raise UnavailableError(
            f"no folder for compiled kernels can be written ({error.strerror}): "
            "name one in NUMBA_CACHE_DIR"
        ) from None
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


def share_folder(ranks: mpi.Ranks) -> None:
    """Let all ranks of a node use the folder that its first rank chooses.

    Must come before numba is imported.  Collective.

    Raises
    ------
    UnavailableError
        On every rank, if some node has no folder that can be written.
    """
    path = ""
    with mpi.agreed(ranks.comm):
        if ranks.node.rank == 0:
            path = str(choose_folder())
    path = os.fsdecode(mpi.broadcast_bytes(ranks.node, os.fsencode(path)))
    os.environ["NUMBA_CACHE_DIR"] = path
    # CuPy makes its own, in the home folder, when it is imported, and fails where it cannot.
    os.environ.setdefault("CUPY_CACHE_DIR", str(Path(path) / "cupy"))
    if "numba" in sys.modules:  # a caller of the library imported it before us
        from numba.core import config

        config.CACHE_DIR = path


def is_temporary() -> bool:
    """Return whether the folder in use ends with this job, so that the next compiles anew."""
    return Path(os.environ["NUMBA_CACHE_DIR"]).name.startswith(TEMPORARY)


def repaired(compile_or_load: Callable[[], T]) -> T:
    """Run what compiles kernels or loads them; empty a damaged cache and run it again.

    Files cut off by a full disk or a killed job would else end every run after it.

    Raises
    ------
    UnavailableError
        If the folder cannot take what is compiled.
    """
    try:
        return compile_or_load()
    except HpcpgdError:
        raise
    except Exception:  # numba has no error of its own for a file that it cannot read
        folder = Path(os.environ["NUMBA_CACHE_DIR"])
        for entry in folder.iterdir():
            shutil.rmtree(entry, ignore_errors=True)
    try:
        return compile_or_load()
    except OSError as error:
        raise UnavailableError(
            f"compiled kernels cannot be kept in {folder}: {error}; "
            "name a folder with room in NUMBA_CACHE_DIR"
        ) from error
