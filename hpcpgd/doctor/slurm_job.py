"""The SLURM job that the doctor runs in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from hpcpgd.doctor.finding import Finding, counted, ok, warning
from hpcpgd.environment.programs import answer_of
from hpcpgd.environment.step_shell import in_step_shell

SUBJECT = "SLURM"
ASK_SECONDS = 10.0
SHORT_SECONDS = 300.0


@dataclass(frozen=True)
class Job:
    """What SLURM reports about the job and its step.

    Attributes
    ----------
    tasks : int
        Number of tasks of the job; 0 if it asked only for nodes.
    in_step : bool
        Whether ``srun`` or an ``mpirun`` that uses it started this process.
    cpus_per_task, passed_on : int
        Cores of a task that the job asked for, and that ``srun`` is told; 0 if unknown.
    seconds_left : float or None
        Seconds until the time limit; None if unknown.
    requeue : bool
        Whether SLURM may start the job again.
    shell : bool
        Whether the doctor was started at a shell that is itself a step.
    """

    tasks: int
    in_step: bool
    cpus_per_task: int = 0
    passed_on: int = 0
    seconds_left: float | None = None
    requeue: bool = True
    shell: bool = False


def number(environ: Mapping[str, str], name: str, otherwise: int) -> int:
    """Return the whole number in a variable, ``otherwise`` if there is none."""
    text = environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise


def observe(environ: Mapping[str, str]) -> Job | None:
    """Return the job, None outside of a job."""
    job = environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    # The answer is empty if SLURM cannot be asked.
    words = answer_of(("scontrol", "--oneliner", "show", "job", job), ASK_SECONDS).split()
    answer = dict(word.split("=", 1) for word in words if "=" in word)
    end = answer.get("EndTime", "Unknown")
    left = None
    if answer.get("TimeLimit") != "UNLIMITED":
        with suppress(ValueError):  # Unknown, None, NONE
            left = datetime.fromisoformat(end).timestamp() - time.time()
    return Job(
        number(environ, "SLURM_NTASKS", 0),
        "SLURM_STEP_NUM_TASKS" in environ,
        number(environ, "SLURM_CPUS_PER_TASK", 0),
        number(environ, "SRUN_CPUS_PER_TASK", 0),
        left,
        answer.get("Requeue", "1") != "0",
        in_step_shell(environ),
    )


def judge(job: Job | None, ranks: int, cores: int, library: str) -> list[Finding]:
    """Judge whether the ranks fit the job.

    Parameters
    ----------
    ranks : int
        Number of ranks of the MPI world.
    cores : int
        Number of cores that the rank with the fewest cores may use.
    library : str
        Name of the MPI library.
    """
    if job is None:
        return []
    findings = []
    # Without --overlap a step waits until the step of the shell ends.
    start = f"--overlap --ntasks={job.tasks} " * job.shell
    interface = "pmix" if "Open MPI" in library else "pmi2"
    srun = f"srun {start}--mpi={interface} python -m hpcpgd.doctor"
    if ranks == 1 and job.tasks > 1 and not job.in_step:
        seen = f"plain python in a job of {job.tasks} tasks is one rank, the others are idle"
        findings.append(warning(SUBJECT, seen, f"start it with {srun}"))
    elif job.tasks not in (0, ranks):
        seen = f"{counted(ranks, 'rank')} in a job of {job.tasks} tasks"
        findings.append(warning(SUBJECT, seen, "start as many ranks as tasks, or change --ntasks"))
    idle = not job.in_step or cores < job.cpus_per_task
    if job.cpus_per_task > 1 and job.passed_on == 0 and idle:  # since 22.05 srun inherits no -c
        seen = f"the job has {job.cpus_per_task} cores a task, but srun is not told of them"
        cure = "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK before srun, or give srun -c"
        findings.append(warning(SUBJECT, seen, cure))
    left = job.seconds_left
    if left is not None and left < SHORT_SECONDS:
        seen = f"{left:.0f} s are left of this job"
        findings.append(warning(SUBJECT, seen, "ask for more: sbatch --time"))
    if not findings:
        tasks = ", as many as tasks" if job.tasks else ""
        findings.append(ok(SUBJECT, f"{counted(ranks, 'rank')}{tasks}{_end(job)}"))
    return findings


def _end(job: Job) -> str:
    """Return when the job ends, and how a run is then saved."""
    again = "" if job.requeue else "; it is not put into the queue again (#SBATCH --requeue)"
    if job.seconds_left is None:
        return again
    minutes = int(job.seconds_left // 60)
    left = f"{minutes // 60} h {minutes % 60:02d} min left"
    return f"; {left}: #SBATCH --signal=USR1@120 or --time-limit keeps what a run has{again}"
