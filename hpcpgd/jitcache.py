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
from pathlib import Path
from typing import Any

from hpcpgd import mpi
from hpcpgd.folders import user_cache


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
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def choose_folder() -> Path:
    """Return a folder that can be written; a private temporary one if the cache cannot."""
    wanted = os.environ.get("NUMBA_CACHE_DIR")
    cache = user_cache()
    base = Path(wanted) if wanted else cache and cache / "numba"
    if base and _writable(base / sources_hash()):
        return base / sources_hash()
    # Compiled code is loaded from here, so nobody else may write to it: mode 0700.
    temporary = Path(tempfile.mkdtemp(prefix="hpcpgd-numba-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


def share_folder(node: Any) -> None:
    """Let all ranks of a node use the folder that its first rank chooses.

    Must come before numba is imported.  Collective over ``node``.
    """
    path = str(choose_folder()) if node.rank == 0 else ""
    path = os.fsdecode(mpi.broadcast_bytes(node, os.fsencode(path)))
    os.environ["NUMBA_CACHE_DIR"] = path
    if "numba" in sys.modules:  # a caller of the library imported it before us
        from numba.core import config

        config.CACHE_DIR = path
