"""Make all runs of a study, with the progress on standard error."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from hpcpgd.cli.quantities import duration
from hpcpgd.study.grid import Point
from hpcpgd.study.launchers import Launcher
from hpcpgd.study.read_run import read_row
from hpcpgd.study.runner import execute
from hpcpgd.study.study_folder import Job, StudyFolder
from hpcpgd.study.tables import about


def execute_all(
    place: StudyFolder, jobs: list[Job], time_limit: float, launcher: Launcher, warmup: int
) -> None:
    """Make the runs that are not done, with a bar, or a line for each run without a terminal.

    Both show the run and the time left; each failure is printed at once.  The time per epoch
    in the line of a run leaves out ``warmup`` epochs.
    """
    from tqdm import tqdm

    done = sum(place.is_done(job) for job in jobs)
    with (
        ended_by_signal(),
        tqdm(total=len(jobs), initial=done, unit="run", disable=None, file=sys.stderr) as bar,
    ):
        begin = monotonic()
        try:
            for made, job in enumerate([j for j in jobs if not place.is_done(j)], 1):
                bar.set_description_str(_label(job))
                failure = execute(place, job, time_limit, launcher)
                if failure is not None:
                    bar.write(f"{failure.status}: {job.name}: {failure.error}", file=sys.stderr)
                if not place.is_done(job):  # SLURM has ended this job, and the run with it
                    return
                bar.update()
                if failure is None and bar.disable:
                    left = (monotonic() - begin) / made * (len(jobs) - done - made)
                    line = f"run {done + made} of {len(jobs)}: {_label(job)}: "
                    line += _result(place, job, warmup) + (f"; {about(left)} left" if left else "")
                    print(line, file=sys.stderr, flush=True)
        except (KeyboardInterrupt, SystemExit):  # the current run has been ended
            ended = sum(place.is_done(job) for job in jobs)
            bar.write(f"{ended} of {len(jobs)} runs are done: run again to go on", file=sys.stderr)
            raise


def _label(job: Job) -> str:
    return job.task.label if isinstance(job.task, Point) else job.task.key


def _result(place: StudyFolder, job: Job, warmup: int) -> str:
    """Return the time per epoch of a run that ended well."""
    if not isinstance(job.task, Point):
        return "ended well"
    row = read_row(place.run_file(job), job.task, job.repeat, warmup, None)
    return f"{duration(row.tpe_seconds)} an epoch"


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let SIGTERM end this process as Ctrl-C does, so that its current run is ended too."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
