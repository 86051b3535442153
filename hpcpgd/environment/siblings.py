"""The other ranks that a launcher started on this machine, found without MPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Rank = Callable[[Mapping[str, str]], int | None]


def rank_is_gone(rank: int, ranks_here: int, rank_of: Rank, proc: Path = Path("/proc")) -> bool:
    """Return whether rank ``rank``, started on this machine, has ended.

    The ranks of a machine are children of one process of the launcher, perhaps with a shell
    between.  False where the system does not show that: without ``/proc``, or where that process
    is another user's.

    Parameters
    ----------
    ranks_here : int
        How many ranks the launcher started on this machine; it may take a while until all are
        seen with their environment, before which none counts as gone.
    rank_of : callable
        Returns the rank that an environment names, None if it names none.
    proc : Path
        Where the system shows its processes.
    """
    try:
        parent = _parent(proc / "self")
        while rank_of(_environ(proc / str(parent))) is not None:  # a shell around this rank
            parent = _parent(proc / str(parent))
        _environ(proc / str(parent))
    except (OSError, ValueError):
        return False
    seen = [rank_of(environ) for environ in _children(proc, parent)]
    return None not in seen and rank not in seen and len(seen) < ranks_here


def _parent(process: Path) -> int:
    """Return the process that started another; its name may hold blanks and parentheses."""
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def _environ(process: Path) -> dict[str, str]:
    words = (process / "environ").read_bytes().decode(errors="replace").split("\0")
    return dict(word.split("=", 1) for word in words if "=" in word)


def _children(proc: Path, parent: int) -> Iterator[dict[str, str]]:
    """Yield the environments of a process's children; one that has ended has none to show."""
    for entry in proc.iterdir():
        if entry.name.isdecimal():
            try:
                if _parent(entry) == parent and (environ := _environ(entry)):
                    yield environ
            except (OSError, ValueError):  # it has ended, or is another user's
                continue
