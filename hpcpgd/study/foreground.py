"""Make all runs of a study before a person's eyes, and end them with us."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hpcpgd.study.launchers import Launcher
from hpcpgd.study.runner import execute
from hpcpgd.study.study_folder import Failure, Job, StudyFolder


def execute_all(place: StudyFolder, jobs: list[Job], time_limit: float, launcher: Launcher) -> None:
    """Run what is not done, with a bar; failures are told as they come."""
    from tqdm import tqdm

    done = sum(place.is_done(job) for job in jobs)
    with (
        ended_by_signal(),
        tqdm(total=len(jobs), initial=done, unit="run", disable=None, file=sys.stderr) as bar,
    ):

        def told(job: Job, failure: Failure | None) -> None:
            bar.update()
            if failure is not None:
                bar.write(f"{failure.status}: {job.name}: {failure.error}", file=sys.stderr)

        try:
            execute(place, jobs, time_limit, launcher, told)
        except (KeyboardInterrupt, SystemExit):  # the run under way has been ended
            made = sum(place.is_done(job) for job in jobs)
            bar.write(f"{made} of {len(jobs)} runs are done: run again to go on", file=sys.stderr)
            raise


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let SIGTERM end us as Ctrl-C does, and our run with us, not beside it."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
