"""Which processes the paper's study needs, and which of its rows cannot run here."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hpcpgd.study.execute import order
from hpcpgd.study.folder import Failure, Job, Task
from hpcpgd.study.paper.contest import NO_DEVICE, LibraryTask, probe
from hpcpgd.study.paper.plan import PaperPoint
from hpcpgd.study.paper.problem import Problems
from hpcpgd.study.paper.table import PaperRow

Name = tuple[str, str]  # of a point: its row, and the key of what it trains


@dataclass(frozen=True)
class Tasks:
    """The process of each point.

    Attributes
    ----------
    absent : dict
        Rows that cannot run here, and why.
    of : dict
        The task of each other point; a library has one for several.
    """

    absent: dict[str, Failure]
    of: dict[Name, Task]

    def jobs(self, repeats: int) -> list[Job]:
        """Return all processes, repeats outermost, libraries after what they must find."""
        unique = {task.key: task for task in self.of.values()}
        ours = [task for task in unique.values() if not isinstance(task, LibraryTask)]
        others = [task for task in unique.values() if isinstance(task, LibraryTask)]
        return order([*ours, *others], repeats)


def name_of(p: PaperPoint) -> Name:
    """Return what tells a point of the paper's study from all others."""
    return p.row.name, p.point.key


def absent_rows(rows: tuple[PaperRow, ...], python: str) -> dict[str, Failure]:
    """Return the rows that cannot run here, by name; libraries are asked themselves."""
    found = {}
    no_device = Failure(NO_DEVICE, 0, "this machine has no GPU that CuPy sees")
    for row in rows:
        if row.foreign:
            failure = probe(row, python)
        else:
            failure = no_device if row.on_gpu and not has_device() else None
        if failure is not None:
            found[row.name] = failure
    return found


def has_device() -> bool:
    """Return whether CuPy sees a GPU here."""
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount())
    except (ImportError, OSError, RuntimeError):
        return False


def make_tasks(
    points: list[PaperPoint], absent: dict[str, Failure], python: str, cores: int,
    problems: Problems,
) -> Tasks:  # fmt: skip
    """Return the task of every point whose row can run here."""
    can = [p for p in points if p.row.name not in absent]
    found: dict[Name, Task] = {name_of(p): p.point for p in can if not p.row.foreign}
    groups = defaultdict(list)
    for p in can:
        if p.row.foreign:
            config = p.point.config
            groups[p.row, config.hidden, config.train_rows].append(p)
    for (row, _, _), group in groups.items():
        threads = cores if row.parallel else 1
        one = LibraryTask(row, python, threads, tuple(p.point for p in group), problems)
        found |= {name_of(p): one for p in group}
    return Tasks(absent, found)
