"""The record of submissions in the study's folder, and the states of the runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.errors import DataError
from hpcpgd.results.atomic import write_atomically
from hpcpgd.study.grid import points
from hpcpgd.study.runner import order
from hpcpgd.study.slurm.queue import Queue
from hpcpgd.study.study_folder import Failure, Job, StudyFolder
from hpcpgd.study.studyfile import StudyFile

REPORT = "report"
DONE, RUNNING, PENDING, MISSING = "done", "running", "pending", "missing"
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "SUSPENDED", "RESV_DEL_HOLD", "SPECIAL_EXIT")


@dataclass(frozen=True)
class SlurmFiles:
    """Scripts, logs and the record of submissions, in the folder of a study."""

    path: Path
    name: str

    def study(self, number: int) -> Path:
        """Return the path of the submitted study file, which later submissions do not change.

        Its name is that of the study: a study without a name has that of its file.
        """
        return self.path / "studies" / f"{number:03d}" / f"{self.name}.toml"

    @property
    def site(self) -> Path:
        """The site file as it was submitted."""
        return self.path / "site.toml"

    def script(self, label: str, number: int) -> Path:
        """Return the path of a script; ``number`` is different for each submission."""
        return self.path / f"{number:03d}-{label}.sh"

    @property
    def logs(self) -> Path:
        """The folder of the jobs' logs."""
        return self.path / "logs"

    def read(self) -> dict[str, str]:
        """Return the run (or ``report``) of each job and array task ever submitted.

        Raises
        ------
        DataError
            If the record is damaged.
        """
        path = self.path / "jobs.json"
        if not path.exists():
            return {}
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return {str(job): str(run) for job, run in record.items()}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise DataError(f"{path}: no record of submissions: {error}") from None

    def add(self, jobs: dict[str, str]) -> None:
        """Add jobs to the record."""
        data = json.dumps({**self.read(), **jobs}, indent=1).encode()
        write_atomically(self.path / "jobs.json", data)

    def submissions(self) -> int:
        """Return how many scripts there are."""
        return len([*self.path.glob("[0-9][0-9][0-9]*-*.sh")])


def files_of(place: StudyFolder, study: StudyFile) -> SlurmFiles:
    """Return what SLURM needs in the folder of a study."""
    return SlurmFiles(place.path / "slurm", study.name)


@dataclass(frozen=True)
class RunState:
    """The state of one run.

    Attributes
    ----------
    state : str
        ``done``, ``running``, ``pending``, ``missing`` or the status of a failure.
    detail : str
        The job, or the error.
    """

    name: str
    state: str
    detail: str


def run_states(
    study: StudyFile, place: StudyFolder, own: SlurmFiles, queue: Queue | None
) -> list[RunState]:
    """Return the state of every run, from its files and, if there is one, from the queue."""
    jobs, record = order(points(study), study.repeats), own.read()
    told = {} if queue is None else queue.states()
    queued = {record[job]: (job, state) for job, state in told.items() if job in record}
    return [_state(job, place, place.read_failure(job), queued) for job in jobs]


def _state(
    job: Job, place: StudyFolder, failure: Failure | None, queued: dict[str, tuple[str, str]]
) -> RunState:
    if failure is not None:
        return RunState(job.name, failure.status, f"exit code {failure.code}: {failure.error}")
    if place.is_done(job):
        return RunState(job.name, DONE, "")
    if job.name in queued:
        number, told = queued[job.name]
        state, _, reason = told.partition(" ")
        if state in WAITING:
            return RunState(job.name, PENDING, f"job {number}, {reason}")
        return RunState(job.name, RUNNING, f"job {number}")
    logs = place.path / "slurm" / "logs"
    if not logs.exists():  # nothing was submitted
        return RunState(job.name, MISSING, "not done: run again")
    cause = f"neither done nor in the queue: logs in {logs}, submit again"
    return RunState(job.name, MISSING, cause)
