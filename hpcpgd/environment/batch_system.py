"""What the batch system says of this job: its number, and whether it has been started before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

NOT_A_TASK = ("", "0", "undefined")  # LSF and Grid Engine say so outside of an array
NOT_AGAIN = ("", "0")


@dataclass(frozen=True)
class System:
    """The variables of one batch system.

    Attributes
    ----------
    mark : str
        Is there in its jobs alone.
    job : str
        Holds the job's number.
    task : str
        Holds the number of an array's task; "" where the job's has it, too.
    again : str
        Says whether the job has been started before; "" where nothing does.
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
    """Return what says that this job has been started before, "" where nothing does."""
    system = _system(environ)
    value = "" if system is None else environ.get(system.again, "")
    return "" if system is None or value in NOT_AGAIN else f"{system.again}={value}"
