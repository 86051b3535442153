"""The folders of compiled kernels: one that all jobs share, or one for this job alone."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import warnings
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from hpcpgd.environment.provenance import hash_of_sources
from hpcpgd.environment.user_dirs import user_cache
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.core.kernel_files import DISK
from hpcpgd.parallel import mpi

TEMPORARY = "hpcpgd-kernels-"  # prefix of the name of a private folder
COLD_CACHE_BYTES = 8 * 2**20  # more than the compiled kernels of one run take
OTHERS_MAY_WRITE = 0o022


@dataclass(frozen=True)
class Folders:
    """Folders of compiled kernels on one node.

    Attributes
    ----------
    shared : str
        The folder that all jobs share, "" if the user has none.
    read : bool
        Whether kernels are loaded from it.
    write : str
        The folder for new kernels: the shared one, or one for this job alone; "" for none.
    reason : str
        Why no kernels are written to the shared folder, "" if they are.
    """

    shared: str
    read: bool
    write: str
    reason: str


def sources_hash() -> str:
    """Return a short hash of the kernels' sources."""
    return hash_of_sources(Path(__file__).parents[1] / "kernels")[:16]


def shared_folder() -> Path | None:
    """Return the folder for kernels of these sources that all jobs share, if there is one."""
    wanted, cache = os.environ.get("NUMBA_CACHE_DIR"), user_cache()
    base = Path(wanted) if wanted else cache and cache / "numba"
    return base and base / sources_hash()


def _untrusted(folder: Path) -> str:
    """Return why code must not be loaded from a folder; "" if it may.

    Loading a kernel runs its code.  A read-only mount is trusted: nobody can write to it, and in
    a container the owner's number may be unknown.
    """
    status = folder.stat()
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return ""
    if status.st_uid not in (os.getuid(), 0):
        return "belongs to another user"
    return "can be written by other users" if status.st_mode & OTHERS_MAY_WRITE else ""


def _unwritable(folder: Path) -> str:
    """Return why compiled kernels cannot be written to a folder; "" if they can."""
    room = 1 if any(folder.iterdir()) else COLD_CACHE_BYTES
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            # An empty file can be made even on a full disk, so write as much as kernels take.
            probe.write(bytes(room))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _judged(folder: Path) -> tuple[bool, str]:
    """Return whether kernels can be loaded from a folder, and why none can be written to it."""
    try:
        # Without write access for the group, which some systems give by default.
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o755, exist_ok=True)
        refused = _untrusted(folder)
        return (False, refused) if refused else (True, _unwritable(folder))
    except OSError as error:
        return False, error.strerror or str(error)


def choose() -> Folders:
    """Return the folders of this node, a private one if the shared one cannot be written.

    Raises
    ------
    UnavailableError
        If kernels can neither be loaded from a folder nor written to one.
    """
    shared = shared_folder()
    read, reason = (False, "no home folder") if shared is None else _judged(shared)
    if not reason:
        return Folders(str(shared), True, str(shared), "")
    # Compiled code is loaded from this folder, so only its owner may write to it: mode 0700.
    try:
        private = tempfile.mkdtemp(prefix=TEMPORARY)
    except OSError as error:
        if read:
            return Folders(str(shared), True, "", reason)
        raise UnavailableError(
            f"no folder for compiled kernels can be written ({error.strerror}): "
            "name one in NUMBA_CACHE_DIR"
        ) from None
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return Folders(str(shared or ""), read, private, reason)


def notice() -> str:
    """Return what the user should know about the kernel cache, "" if there is nothing."""
    lines = [f"a damaged kernel was compiled anew; {path} can be removed" for path in DISK.damaged]
    if DISK.compiled and DISK.unkept:
        lines.append(
            f"compiled kernels are kept for this job alone, as {DISK.unkept}: "
            "name another folder in NUMBA_CACHE_DIR, or fill it in advance (hpcpgd compile)"
        )
    return "\n".join(lines)


def use(folders: Folders) -> None:
    """Load kernels from these folders and write new ones to them, in this process."""
    read = [folders.shared] if folders.read else []
    if folders.write and folders.write not in read:
        read.append(folders.write)
    DISK.read = [Path(folder) for folder in read]
    DISK.write = Path(folders.write) if folders.write else None
    DISK.unkept = folders.reason and f"{folders.shared or 'cache'}: {folders.reason}"
    # Otherwise CuPy makes its own cache in the home folder at import, and fails if it cannot.
    if folders.write:
        os.environ.setdefault("CUPY_CACHE_DIR", str(Path(folders.write) / "cupy"))


def _load_numba() -> None:
    """Import numba, which reads its environment variables at import.

    Raises
    ------
    UnavailableError
        If numba refuses the value of a variable.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Environment variable", RuntimeWarning)
        try:
            import_module("numba")
        except (ValueError, RuntimeWarning) as error:
            names = [name for name in os.environ if name.startswith("NUMBA_")]
            reason = str(error).partition("\n")[0]
            raise UnavailableError(
                f"numba does not take what {' or '.join(names)} says ({reason}): unset it"
            ) from error


def share_folder(ranks: mpi.Ranks) -> Folders:
    """Let all ranks of a node use the folders that its first rank chooses; return them.

    Collective.  It must be called before the first kernel.

    Raises
    ------
    UnavailableError
        On every rank, if some node has no folder that can be read or written, or if numba
        refuses a variable.
    """
    text = ""
    with mpi.agreed(ranks.comm):
        _load_numba()
        if ranks.node.rank == 0:
            text = json.dumps(asdict(choose()))
    folders = Folders(**json.loads(mpi.bcast_bytes(ranks.node, text.encode())))
    use(folders)
    return folders
