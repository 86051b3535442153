"""Make one run of a study in a process of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from hpcpgd import errors
from hpcpgd.study.last_words import cure, reason
from hpcpgd.study.launchers import Launcher
from hpcpgd.study.study_folder import Failure, Job, StudyFolder, Task

GRACE = 10.0  # seconds between asking a run to end and killing it
TRIAL_SECONDS = 60.0
# Exit codes that show that the program has started.  Not 69 and 78, which it also returns where
# MPI is missing or is not the launcher's.
STARTED = frozenset(
    error.exit_code
    for error in (
        *(errors.HpcpgdError, errors.DivergedError, errors.DataError, errors.WatchdogError),
        *(errors.OutputError, errors.StoppedError, errors.ReplicaError),
    )
)


def order(tasks: Sequence[Task], repeats: int) -> list[Job]:
    """Return all runs, the repeats outermost: drift of the machine affects all points alike."""
    return [Job(task, repeat) for repeat in range(1, repeats + 1) for task in tasks]


def execute(folder: StudyFolder, job: Job, time_limit: float, launcher: Launcher) -> Failure | None:
    """Make a run, unless it is done; return how it failed, None if it ended well.

    A run that SLURM ended together with this job has not failed: it is still to be done, as the
    status ``not made`` says.  So is one that the launcher did not start.

    Raises
    ------
    UnavailableError
        If the launcher starts nothing.
    """
    if folder.is_done(job):
        return folder.read_failure(job)
    failure = _run(folder, job, launcher, time_limit)
    if failure is None or folder.run_file(job).exists():  # another process has made it meanwhile
        return None
    if ended := launcher.why_ended():
        error = failure.error or f"exit code {failure.code}"
        return replace(failure, status="not made", error=f"{error}; {ended}")
    _require_launcher(job, launcher, failure)
    folder.write_failure(job, failure)
    return failure


def _run(folder: StudyFolder, job: Job, launcher: Launcher, time_limit: float) -> Failure | None:
    unfinished = folder.running_file(job)
    code, error = _outcome(job.task, launcher, unfinished, time_limit)
    if code == 0 and unfinished.exists():
        unfinished.replace(folder.run_file(job))
        return None
    if code == 0:
        return Failure("failed", 0, "it ended well and left no result")
    unfinished.unlink(missing_ok=True)
    status = {errors.DivergedError.exit_code: "diverged", None: "timed out"}.get(code, "failed")
    return Failure(status, -1 if code is None else code, error)


def _require_launcher(job: Job, launcher: Launcher, failure: Failure) -> None:
    """Test the launcher after a failure that it may have caused.

    Raises
    ------
    UnavailableError
        If it cannot start ranks that see each other.
    """
    if failure.code in STARTED or job.task.ranks == 0:
        return
    command = job.task.command(launcher, Path(os.devnull))
    words = command[: command.index(sys.executable)]
    trial = [*words, sys.executable, "-m", "hpcpgd.study.trial"]
    code, error = run_limited(trial, TRIAL_SECONDS, launcher.environment())
    if code != 0:
        start = shlex.join(words)
        told = error.partition(" error: ")[2] or error or f"it ended with {code}"
        look = cure(told) or f"{start} python -m hpcpgd.doctor says more"
        raise errors.UnavailableError(f"{start} starts no ranks of mpi4py's MPI: {told}: {look}")


def _outcome(
    task: Task, launcher: Launcher, output: Path, time_limit: float
) -> tuple[int | None, str]:
    """Run a task; if it lacks what it needs, that is a failure of the task."""
    try:
        command = task.command(launcher, output)
    except errors.DataError as error:
        return error.exit_code, str(error)
    return run_limited(command, time_limit, launcher.environment())


def run_limited(
    command: list[str],
    time_limit: float,
    environment: dict[str, str],
    output: IO[bytes] | int = subprocess.DEVNULL,
) -> tuple[int | None, str]:
    """Run a command in its own process group, and end the group at the time limit.

    Parameters
    ----------
    time_limit : float
        Seconds.
    output : binary file, optional
        Where its standard output goes.

    Returns
    -------
    code : int or None
        None if it was ended.
    error : str
        The line of its standard error that gives the reason.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
        close_fds=False,  # the run inherits the lock of the folder
    )
    try:
        _, error = process.communicate(timeout=time_limit)
        return process.returncode, _reason(error)
    except subprocess.TimeoutExpired:
        told = _reason(_end(process))
        return None, f"no end after {time_limit:g} s" + f": {told}" * bool(told)
    except BaseException:  # Ctrl-C: the ranks, in another process group, did not receive it
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """End a process group by SIGTERM, else by SIGKILL; return its standard error."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=GRACE)[1]
    return b""


def _reason(error: bytes) -> str:
    return reason(error.decode(errors="replace"))
