"""Shared memory files of MPI libraries, which killed jobs leave behind."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
MPICH = "mpich_shm_"
# How the files of MPICH, Open MPI, UCX and PSM2 are called there.
PREFIXES = (MPICH, "vader_segment.", "sm_segment.", "ucx_shm_", "psm2_shm.", "psm3_shm.")
AGE = 30.0  # seconds after which an MPICH file that no process maps is left over


def left_over(
    folder: Path = SHARED_MEMORY, processes: Path = Path("/proc"), names: tuple[str, ...] = PREFIXES
) -> dict[str, int]:
    """Return names and bytes of this user's files that no process has open or mapped."""
    mine = _own_files(folder, names)
    used = _mapped(folder, processes) if mine else set()
    return {name: nbytes for name, nbytes in mine.items() if name not in used}


def sweep(folder: Path = SHARED_MEMORY) -> None:
    """Remove the files of this user's jobs that were killed while MPICH started."""
    if not folder.is_dir():
        return
    for name in left_over(folder, names=(MPICH,)):
        with suppress(OSError):  # another job may remove it at the same time
            if time.time() - (folder / name).stat().st_mtime > AGE:
                (folder / name).unlink()


def _own_files(folder: Path, names: tuple[str, ...]) -> dict[str, int]:
    """Return names and bytes of this user's files of MPI libraries."""
    found = {}
    for path in folder.iterdir():
        with suppress(OSError):  # its job has ended meanwhile
            if path.name.startswith(names) and path.stat().st_uid == os.getuid():
                found[path.name] = path.stat().st_blocks * 512
    return found


def _mapped(folder: Path, processes: Path) -> set[str]:
    """Return the files of ``folder`` that a process of this user has open or mapped."""
    found: set[str] = set()
    begin = f"{folder}/"
    for process in processes.glob("[0-9]*"):
        names: list[str] = []
        with suppress(OSError):  # another user's, or gone
            maps = (process / "maps").read_text(errors="replace").splitlines()
            names += [line.split(maxsplit=5)[-1] for line in maps if begin in line]
            for link in (process / "fd").iterdir():
                with suppress(OSError):  # closed meanwhile
                    names.append(str(link.readlink()))
        found |= {name.removeprefix(begin) for name in names if name.startswith(begin)}
    return found
