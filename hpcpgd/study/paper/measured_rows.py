"""The rows of the paper's study, and their medians for the figures and the claims."""

from __future__ import annotations

from dataclasses import replace

from hpcpgd.config.run_config import NETWORKS
from hpcpgd.environment.provenance import cpu_model
from hpcpgd.study.grid import network_name
from hpcpgd.study.paper.contest import LibraryTask, read_library_row
from hpcpgd.study.paper.paper_rows import AXIS_BATCH, AXIS_WIDTHS, WARM_UP, PaperPoint
from hpcpgd.study.paper.paper_table import PaperRow
from hpcpgd.study.paper.problem import FIRST
from hpcpgd.study.paper.tasks import Tasks, name_of
from hpcpgd.study.read_run import read_row
from hpcpgd.study.rows import Row, failed_row
from hpcpgd.study.study_folder import Failure, Job, StudyFolder
from hpcpgd.study.summary import Summary, summarise


def gather(points: list[PaperPoint], tasks: Tasks, place: StudyFolder, repeats: int) -> list[Row]:
    """Return a row for each run that has ended, and one for a point that cannot run here.

    Raises
    ------
    DataError
        If a file is damaged.
    """
    all_rows = []
    for p in points:
        ended = [_row(p, tasks, place, repeat) for repeat in range(1, repeats + 1)]
        rows = [row for row in ended if row is not None]
        if not rows and p.row.name in tasks.absent:
            rows = [_not_run(p, 0, tasks.absent[p.row.name])]
        all_rows += rows
    return all_rows


def _not_run(p: PaperPoint, repeat: int, failure: Failure) -> Row:
    row = replace(failed_row(p.point, repeat, failure, cpu_model()), paper_row=p.row.name)
    return replace(row, backend=p.row.backend, reduction="none") if p.row.foreign else row


def _row(p: PaperPoint, tasks: Tasks, place: StudyFolder, repeat: int) -> Row | None:
    job = Job(tasks.of[name_of(p)], repeat)
    failure, path = place.read_failure(job), place.run_file(job)
    if failure is not None:
        return _not_run(p, repeat, failure)
    if not path.exists():
        return None
    if isinstance(job.task, LibraryTask):
        ours = read_row(place.run_file(Job(p.point, FIRST)), p.point, FIRST, WARM_UP, None)
        return read_library_row(path, p.row, ours, repeat)
    return replace(read_row(path, p.point, repeat, WARM_UP, None), paper_row=p.row.name)


class Results:
    """Medians by row, network, batch size and training rows.

    Parameters
    ----------
    rows : list of Row
        Of one machine.
    batches : tuple of int
        Batch sizes of the six bar charts.
    """

    def __init__(self, rows: list[Row], batches: tuple[int, ...]) -> None:
        self.batches = batches
        points = [p for p in summarise(rows, "sweep", {}) if p.repeats]
        self.rows = max((p.rows for p in points), default=0)  # of the six bar charts
        self._points: dict[tuple[str, str, int, int], Summary] = {
            (p.paper_row, p.network, p.batch_size, p.rows): p for p in points
        }

    def over_batches(self, row: str, network: str) -> dict[int, Summary]:
        """Return the points of all batch sizes."""
        keys = {batch: (row, network, batch, self.rows) for batch in self.batches}
        return {batch: self._points[key] for batch, key in keys.items() if key in self._points}

    def over_rows(self, row: str, network: str) -> dict[int, Summary]:
        """Return the points of all numbers of training rows."""
        return {
            rows: p
            for (name, net, batch, rows), p in sorted(self._points.items())
            if (name, net, batch) == (row, network, AXIS_BATCH)
        }

    def over_widths(self, row: str, network: str) -> dict[int, Summary]:
        """Return the points of all widths with as many hidden layers as ``network``."""
        depth = len(NETWORKS[network])
        points = {width: self.at(row, (width,) * depth, AXIS_BATCH) for width in AXIS_WIDTHS}
        return {width: p for width, p in points.items() if p is not None}

    def at(self, row: str, hidden: tuple[int, ...], batch: int) -> Summary | None:
        """Return the point of any widths, None if it was not timed."""
        return self._points.get((row, network_name(hidden), batch, self.rows))

    def seconds(self, row: str, network: str) -> dict[int, float]:
        """Return the time per epoch by batch size."""
        return {batch: p.median for batch, p in self.over_batches(row, network).items()}

    def gflops(self, row: str, network: str) -> dict[int, float]:
        """Return the rate by batch size."""
        return {batch: p.gflops for batch, p in self.over_batches(row, network).items()}

    def speedups(self, row: PaperRow, network: str) -> dict[int, float]:
        """Return the speedup against the row's base by batch size."""
        own, base = self.seconds(row.name, network), self.seconds(row.base, network)
        return {b: base[b] / own[b] for b in own if b in base}
