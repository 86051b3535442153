"""Which processes the paper's study needs, and which of its rows cannot run here."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from hpcpgd.environment.provenance import has_driver
from hpcpgd.study.paper.contest import NO_DEVICE, NOT_INSTALLED, LibraryTask, probe
from hpcpgd.study.paper.paper_rows import PaperPoint
from hpcpgd.study.paper.paper_table import PaperRow
from hpcpgd.study.paper.problem import Problems
from hpcpgd.study.runner import order
from hpcpgd.study.study_folder import Failure, Job, Task

Name = tuple[str, str]  # of a point: its row, and the key of what it trains


@dataclass(frozen=True)
class Tasks:
    """The process of each point.

    Attributes
    ----------
    absent : dict
        Rows that cannot run here now, and why; they may have been run before.
    of : dict
        The task of each point; a library has one for several.
    """

    absent: dict[str, Failure]
    of: dict[Name, Task]

    def jobs(self, repeats: int) -> list[Job]:
        """Return all processes, repeats outermost, libraries after the runs with their losses."""
        can = {name: task for name, task in self.of.items() if name[0] not in self.absent}
        unique = {task.key: task for task in can.values()}
        ours = [task for task in unique.values() if not isinstance(task, LibraryTask)]
        others = [task for task in unique.values() if isinstance(task, LibraryTask)]
        return order([*ours, *others], repeats)


def name_of(p: PaperPoint) -> Name:
    """Return the row and the key of a point, which no other point of the study has."""
    return p.row.name, p.point.key


def absent_rows(rows: tuple[PaperRow, ...], python: str) -> dict[str, Failure]:
    """Return why rows cannot run here, by name; the programs of libraries are asked."""
    absent = {}
    for row in rows:
        failure = probe(row, python) if row.foreign else no_device() if row.on_gpu else None
        if failure is not None:
            absent[row.name] = failure
    return absent


def no_device() -> Failure | None:
    """Return why our own rows cannot run on a GPU here, None if they can."""
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except ImportError as error:
        if not has_driver():
            return Failure(NO_DEVICE, 0, "this machine has no NVIDIA driver")
        cure = "pip install 'hpcpgd[gpu13]' (CUDA 13) or 'hpcpgd[gpu]' (CUDA 12)"
        return Failure(NOT_INSTALLED, 0, f"CuPy cannot be loaded: {error}: {cure}")
    except (OSError, RuntimeError) as error:
        return Failure(NO_DEVICE, 0, " ".join(str(error).split()))
    return None if count else Failure(NO_DEVICE, 0, "this machine has no GPU that CuPy sees")


def make_tasks(
    points: list[PaperPoint],
    absent: dict[str, Failure],
    python: str,
    cores: int,
    problems: Problems,
) -> Tasks:
    """Return the task of every point."""
    tasks: dict[Name, Task] = {name_of(p): p.point for p in points if not p.row.foreign}
    groups = defaultdict(list)
    for p in points:
        if p.row.foreign:
            config = p.point.config
            groups[p.row, config.hidden, config.train_rows].append(p)
    for (row, _, _), group in groups.items():
        # With a GPU all cores, as our own process, which is not limited to some.
        threads = cores if row.parallel or row.on_gpu else 1
        one = LibraryTask(row, python, threads, tuple(p.point for p in group), problems)
        tasks |= {name_of(p): one for p in group}
    return Tasks(absent, tasks)
