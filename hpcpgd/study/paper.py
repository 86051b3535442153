"""The paper's own study: its Table 1 on its two networks, over batch sizes.

The library rows (Keras on Theano) are not in it: they need programs of others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpcpgd.config import NETWORKS, resolve
from hpcpgd.errors import DataError
from hpcpgd.study.execute import Job
from hpcpgd.study.folder import Failure, StudyFolder
from hpcpgd.study.grid import Point
from hpcpgd.study.read_run import read_row
from hpcpgd.study.rows import Row, failed_row
from hpcpgd.study.summary import Summary, summarise

BATCHES = (32, 64, 128, 256, 512, 1024)
NO_DEVICE = "no device"
WARM_UP = 1


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 1, or of ours beside it.

    Attributes
    ----------
    name : str
    backend : str
    parallel : bool
        Threads on all cores, or one.
    base : str
        The row that its speedup counts from, "" for none.
    """

    name: str
    backend: str
    parallel: bool = False
    base: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether it needs a device."""
        return self.backend.startswith("cuda")


ROWS = (
    PaperRow("Naive Serial", "loops"),
    PaperRow("Multicore Parallel", "loops", True, "Naive Serial"),
    PaperRow("GPU Parallel", "cuda-loops", base="Naive Serial"),
    PaperRow("Fast Serial", "gemv"),
    PaperRow("Fast Parallel", "gemv", True, "Fast Serial"),
    PaperRow("gemm serial", "gemm"),
    PaperRow("gemm parallel", "gemm", True, "gemm serial"),
    PaperRow("cuda", "cuda", base="gemm serial"),
)


@dataclass(frozen=True)
class Size:
    """How much of the study is run."""

    train_rows: int | str
    epochs: int
    repeats: int
    time_limit: float


FULL = Size("all", 3, 5, 3600.0)
QUICK = Size(2457, 2, 2, 120.0)  # 2,048 training rows: two minibatches of 1,024


@dataclass(frozen=True)
class PaperPoint:
    """A row, a network and a batch size."""

    row: PaperRow
    point: Point


def find_dataset() -> str:
    """Return ``mnist`` if it is here, else ``fashion-mnist``, which has its shape.

    Raises
    ------
    DataError
        If neither is.
    """
    from hpcpgd.data import load

    for name in ("mnist", "fashion-mnist"):
        try:
            load(name, seed=0)
        except DataError:
            continue
        return name
    raise DataError(
        "neither mnist nor fashion-mnist is here: python -m hpcpgd.data fetch mnist, "
        "or name another dataset of 28 x 28 pixels with --dataset"
    )


def paper_points(dataset: str, size: Size, cores: int) -> list[PaperPoint]:
    """Return all points: rows of a network and batch size side by side."""
    found = []
    for network in NETWORKS:
        for batch in BATCHES:
            found += [_point(row, dataset, size, cores, network, batch) for row in ROWS]
    return found


def _point(
    row: PaperRow, dataset: str, size: Size, cores: int, network: str, batch: int
) -> PaperPoint:
    given: dict[str, Any] = {
        "dataset": dataset,
        "train_rows": size.train_rows,
        "epochs": size.epochs,
        "learning_rate": 0.01,
        "backend": row.backend,
        "reduction": "allreduce",
        "threads": cores if row.parallel else 1,
        "batch_size": batch,
        "network": network,
    }
    config = resolve({**{k: v for k, v in given.items() if k != "network"},
                      "hidden": NETWORKS[network]}, {})  # fmt: skip
    return PaperPoint(row, Point(1, config, tuple(sorted(given.items()))))


def jobs(points: list[PaperPoint], size: Size, devices: bool) -> list[Job]:
    """Return the runs that this machine can make, the repeats outermost."""
    can = [p.point for p in points if devices or not p.row.on_gpu]
    return [Job(point, repeat) for repeat in range(1, size.repeats + 1) for point in can]


def gather(
    points: list[PaperPoint], folder: StudyFolder, size: Size, devices: bool, machine: str
) -> list[Row]:
    """Return a row for each run; for those that need a device, where there is none, one.

    Raises
    ------
    DataError
        If a run file is damaged.
    """
    found = []
    absent = Failure(NO_DEVICE, 69, "this machine has no GPU that CuPy sees")
    for p in points:
        if p.row.on_gpu and not devices:
            found.append(replace(failed_row(p.point, 0, absent, machine), paper_row=p.row.name))
            continue
        for repeat in range(1, size.repeats + 1):
            failure, path = folder.read_failure(p.point, repeat), folder.run_file(p.point, repeat)
            if path.exists():
                row = read_row(path, p.point, repeat, WARM_UP, machine)
            elif failure is not None:
                row = failed_row(p.point, repeat, failure, machine)
            else:
                continue
            found.append(replace(row, paper_row=p.row.name))
    return found


class Results:
    """Medians by row, network and batch size."""

    def __init__(self, rows: list[Row]) -> None:
        found = summarise(rows, "sweep", {})
        self._points: dict[tuple[str, str, int], Summary] = {
            (p.paper_row, p.network, p.batch_size): p for p in found
        }

    def get(self, row: str, network: str, batch: int) -> Summary | None:
        """Return a point that was timed, None if it was not."""
        found = self._points.get((row, network, batch))
        return found if found is not None and found.repeats else None

    def seconds(self, row: str, network: str) -> dict[int, float]:
        """Return the time per epoch by batch size."""
        return {b: p.median for b in BATCHES if (p := self.get(row, network, b))}

    def gflops(self, row: str, network: str) -> dict[int, float]:
        """Return the rate by batch size."""
        return {b: p.gflops for b in BATCHES if (p := self.get(row, network, b))}

    def speedups(self, row: PaperRow, network: str) -> dict[int, float]:
        """Return the speedup against the row's base by batch size."""
        own, base = self.seconds(row.name, network), self.seconds(row.base, network)
        return {b: base[b] / own[b] for b in own if b in base}


def has_device() -> bool:
    """Return whether CuPy sees a GPU here."""
    try:
        import cupy

        return bool(cupy.cuda.runtime.getDeviceCount())
    except (ImportError, OSError, RuntimeError):
        return False


def default_folder(quick: bool) -> Path:
    """Return where the runs are."""
    return Path("hpcpgd-study-paper-quick" if quick else "hpcpgd-study-paper")
