"""Limits that a container or a job sets through control groups (version 2)."""

from __future__ import annotations

from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def limits(name: str, membership: Path = MEMBERSHIP, root: Path = ROOT) -> list[list[str]]:
    """Return the words of file ``name`` in this process's group and all above it."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    group = root / path.lstrip("/")
    found = []
    for folder in (group, *group.parents):
        try:
            found.append((folder / name).read_text().split())
        except OSError:  # no such limit here
            continue
    return found
