"""The batch system's variables: the number of this job, and whether it was started before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

NOT_A_TASK = ("", "0", "undefined")  # what LSF and Grid Engine set outside of an array
NOT_AGAIN = ("", "0")


@dataclass(frozen=True)
class System:
    """The variables of one batch system.

    Attributes
    ----------
    mark : str
        The variable that only its jobs have.
    job : str
        The variable with the job's number.
    task : str
        The variable with the number of an array's task; "" where the job's number includes it.
    again : str
        The variable that is set when the job is started again; "" where there is none.
    """

    mark: str
    job: str
    task: str = ""
    again: str = ""


SYSTEMS = (
    System("SLURM_JOB_ID", "SLURM_JOB_ID", again="SLURM_RESTART_COUNT"),
    System("LSB_JOBID", "LSB_JOBID", "LSB_JOBINDEX", "LSB_RESTART"),  # LSF
    System("PBS_JOBID", "PBS_JOBID"),
    System("SGE_TASK_ID", "JOB_ID", "SGE_TASK_ID", "RESTARTED"),  # Grid Engine
)


def _system(environ: Mapping[str, str]) -> System | None:
    return next((s for s in SYSTEMS if environ.get(s.mark) and environ.get(s.job)), None)


def job_label(environ: Mapping[str, str] = os.environ) -> str:
    """Return the numbers of job and task, "" outside of a batch system."""
    system = _system(environ)
    if system is None:
        return ""
    task = environ.get(system.task, "")
    return environ[system.job] + ("" if task in NOT_A_TASK else f".{task}")


def started_before(environ: Mapping[str, str] = os.environ) -> str:
    """Return the variable and its value if this job was started before, else ""."""
    system = _system(environ)
    value = "" if system is None else environ.get(system.again, "")
    return "" if system is None or value in NOT_AGAIN else f"{system.again}={value}"
