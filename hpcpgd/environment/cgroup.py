"""Limits that a container or a job sets through control groups, of both versions.

Limits of version 1 are translated to the file names and words of version 2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")
NO_LIMIT = 2**60  # bytes; version 1 has a number, too, where there is none

Reader = Callable[[Path], list[str]]


def limits(name: str, membership: Path = MEMBERSHIP, root: Path = ROOT) -> list[list[str]]:
    """Return the words of file ``name`` in this process's groups and all above them.

    Parameters
    ----------
    name : str
        A file of version 2.
    membership, root : Path
        The file that lists a process's groups, and the folder that holds them.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    values = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            values += _upwards(root, path, lambda folder: _words(folder / name))
        elif name in OLD and OLD[name][0] in controllers.split(","):
            controller, read = OLD[name]
            mounts = [root / text for text in (controllers, controller)]  # one may be a link
            mount = next((folder for folder in mounts if folder.is_dir()), root / controller)
            values += _upwards(mount, path, read)
    return values


def _upwards(mount: Path, path: str, read: Reader) -> list[list[str]]:
    """Return what is read in a group and above it, up to where the groups are mounted.

    A container sees its own group there; the path that it reads may not exist in it.
    """
    values = []
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(mount):
            try:
                values.append(read(folder))
            except OSError:  # no such limit here
                continue
    return values


def _words(path: Path) -> list[str]:
    return path.read_text().split()


def _old_quota(folder: Path) -> list[str]:
    quota, period = (_words(folder / f"cpu.cfs_{name}_us")[0] for name in ("quota", "period"))
    return ["max" if int(quota) < 0 else quota, period]


def _old_limit(folder: Path) -> list[str]:
    words = _words(folder / "memory.limit_in_bytes")
    return ["max"] if int(words[0]) >= NO_LIMIT else words


def _old_stat(folder: Path) -> list[str]:
    """Return pages of files and shared memory, of this group and those below it."""
    words = _words(folder / "memory.stat")
    parts = dict(zip(words[::2], words[1::2], strict=True))
    return ["file", parts.get("total_cache", "0"), "shmem", parts.get("total_shmem", "0")]


OLD: dict[str, tuple[str, Reader]] = {
    "cpu.max": ("cpu", _old_quota),
    "cpuset.cpus.effective": ("cpuset", lambda folder: _words(folder / "cpuset.effective_cpus")),
    "memory.max": ("memory", _old_limit),
    "memory.current": ("memory", lambda folder: _words(folder / "memory.usage_in_bytes")),
    "memory.stat": ("memory", _old_stat),
}
