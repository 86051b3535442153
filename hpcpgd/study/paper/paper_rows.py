"""What the paper's study runs: rows, networks, batch sizes, training rows and widths."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import NETWORKS, PAPER_FUNCTIONS, RunConfig
from hpcpgd.data import RawData, load
from hpcpgd.data.prepare import most_train_rows
from hpcpgd.engines.parameters import make_network
from hpcpgd.errors import DataError
from hpcpgd.kernels.backends.registry import BACKENDS
from hpcpgd.results.atomic import write_atomically
from hpcpgd.study.grid import Point
from hpcpgd.study.paper.paper_table import CUDA, GEMM, GPU, ROW, PaperRow

BATCHES = (32, 64, 128, 256, 512, 1024)
AXIS_BATCH = 128  # of the studies over rows and over widths
AXIS_ROWS = (5000, 10000, 20000, 30000, 40000, 50000)  # for training
AXIS_WIDTHS = (256, 512, 1024, 2048, 4096)
ODD_WIDTHS = (1000, 1023)  # for claim (j): no multiples of 32
WARM_UP = 1
RATE = 0.01
LONG = ("loops", "gemv")  # backends whose epochs may take too long to time whole


@dataclass(frozen=True)
class Size:
    """How much of the study is run.

    Attributes
    ----------
    rows : int or None
        Rows drawn from the dataset before its 5:1 split; None takes the whole dataset.
    epochs : int
        Of each run, the first of which is not counted.
    time_limit : float
        Seconds of a run.
    epoch_limit : float
        Seconds; if an epoch is expected to take longer, fewer of its steps are timed.
    axes : bool
        Whether training rows and widths vary too.
    """

    rows: int | None
    epochs: int
    repeats: int
    time_limit: float
    epoch_limit: float
    axes: bool
    batches: tuple[int, ...] = BATCHES


FULL = Size(None, 3, 5, 3600.0, 30.0, True)
QUICK = Size(2457, 4, 1, 120.0, 120.0, False)  # 2,048 training rows: 2 minibatches of 1,024


@dataclass(frozen=True)
class PaperPoint:
    """A row and what it trains; for a library, our own run whose losses it must reproduce."""

    row: PaperRow
    point: Point


@dataclass(frozen=True)
class Shape:
    """A network, its minibatch size and its training rows."""

    hidden: tuple[int, ...]
    batch: int
    train_rows: int | str = "all"


def find_dataset() -> str:
    """Return ``mnist`` if it is here, else ``fashion-mnist``, which has its shape.

    Raises
    ------
    DataError
        If neither is.
    """
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


def draw_rows(raw: RawData, count: int, folder: Path) -> Path:
    """Write ``count`` of the training rows as a dataset of its own, without a test set.

    The test would take longer than the training on so few rows.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    from hpcpgd.data.rng_streams import STREAM_SPLIT
    from hpcpgd.kernels.core.permutation import permutation

    kept = raw.train.take(permutation(raw.train.rows, 0, STREAM_SPLIT)[:count])
    image = io.BytesIO()
    np.savez(image, x_train=kept.features, y_train=kept.labels)
    # Its name is part of what is run: the same from whatever folder the study is started.
    path = folder.resolve() / f"{Path(raw.name).stem}-{kept.rows}.npz"
    write_atomically(path, image.getbuffer())
    return path


def rows_of(raw: RawData) -> int:
    """Return how many rows of a dataset can be trained on."""
    return most_train_rows(raw.train.rows, raw.validation is not None)


@dataclass(frozen=True)
class Plan:
    """All points of a study on one machine.

    Attributes
    ----------
    dataset : str
        Name or path.
    raw : RawData
        The same, read.
    cores : int
        Threads of the parallel rows.
    """

    dataset: str
    raw: RawData
    size: Size
    cores: int
    rows: tuple[PaperRow, ...]

    def points(self) -> list[PaperPoint]:
        """Return every point once: rows of the same shape side by side."""
        points = [self.point(row, shape) for shape in self._shapes() for row in self.rows]
        if any(row.name == GPU for row in self.rows):
            odd = [Shape((width,), batch) for width in ODD_WIDTHS for batch in self.size.batches]
            points += [self.point(ROW[GPU], shape) for shape in odd]
        return points

    def _shapes(self) -> list[Shape]:
        shapes = [
            Shape(hidden, batch) for hidden in NETWORKS.values() for batch in self.size.batches
        ]
        if self.size.axes:
            rows = [n for n in AXIS_ROWS if n < rows_of(self.raw)]
            shapes += [Shape(hidden, AXIS_BATCH, n) for hidden in NETWORKS.values() for n in rows]
            widths = [(w,) * len(hidden) for hidden in NETWORKS.values() for w in AXIS_WIDTHS]
            shapes += [Shape(hidden, AXIS_BATCH) for hidden in widths]
        return list(dict.fromkeys(shapes))

    def point(self, row: PaperRow, shape: Shape) -> PaperPoint:
        """Return one point; that of a library is our own run of the same problem."""
        compared = ROW[GEMM] if ROW[GEMM] in self.rows else ROW[CUDA]
        ours = compared if row.foreign else row
        given: dict[str, Any] = {
            **PAPER_FUNCTIONS,
            "dataset": self.dataset,
            "train_rows": shape.train_rows,
            "epochs": self.size.epochs,
            "learning_rate": RATE,
            "backend": ours.backend,
            "reduction": "allreduce",
            "threads": self.cores if ours.parallel else 1,
            "batch_size": shape.batch,
            "hidden": shape.hidden,
        }
        if ours.backend in LONG:
            given |= self._limit(resolve(given, {}), ours)
        return PaperPoint(row, Point(1, resolve(given, {}), tuple(sorted(given.items()))))

    def _limit(self, config: RunConfig, row: PaperRow) -> dict[str, int]:
        """Return options of fewer steps if an epoch would take too long."""
        rows = rows_of(self.raw) if config.train_rows == "all" else int(config.train_rows)
        network = make_network(config, self.raw.train.features.shape[1], self.raw.n_out)
        work = network.flops_per_example / 1e9
        rate = BACKENDS[row.backend].gflops * (self.cores if row.parallel else 1)
        if work * rows / rate <= self.size.epoch_limit:
            return {}
        steps = int(self.size.epoch_limit * rate / (work * int(config.batch_size)))
        return {"epochs": 1, "max_steps": max(steps, 1)}
