"""A shell within a SLURM step: a program that is typed there is not a rank of that step.

``srun -n 4 --pty bash`` starts four shells, and one of them has the terminal.  A program that is
typed there inherits the variables of the first of four ranks, but the other three never start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

PROCESSES = Path("/proc")
SCRIPT = re.compile(r"[^-].*|-[a-zA-Z]*c")  # arguments that make a shell run a script or command
# Variables that a step's first rank has and a batch script has not.
STEP_PREFIXES = (
    *("PMI_", "PMIX_", "SLURM_STEP", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_GTIDS"),
    *("SLURM_TASK_PID", "SLURM_SRUN_COMM_", "SLURM_MPI_TYPE", "SLURM_PMIX"),
)
OF_SALLOC = "4294967290"  # the step of a shell that salloc starts, which holds no cores
# Variables that a launcher sets again if it was started at that shell.
OTHERS = ("PMI_", "PMIX_", "HYDI_", "OMPI_COMM_", "MV2_COMM_", "MVP_COMM_")


def leave_step(environ: MutableMapping[str, str], processes: Path = PROCESSES) -> None:
    """Remove the step's variables from a process that was typed at a shell within the step.

    ``SLURM_PTY_PORT`` stays, because ``in_step_shell`` needs it, unless other steps need not wait.
    """
    if _was_typed(environ, processes):
        if environ.get("SLURM_STEP_ID") == OF_SALLOC:
            del environ["SLURM_PTY_PORT"]
        for name in [name for name in environ if name.startswith(STEP_PREFIXES)]:
            del environ[name]


def in_step_shell(environ: Mapping[str, str]) -> bool:
    """Return whether this was typed at a shell that holds the cores which other steps need."""
    return "SLURM_PTY_PORT" in environ and "SLURM_STEP_NUM_TASKS" not in environ


def _was_typed(environ: Mapping[str, str], processes: Path) -> bool:
    """Return whether the step's task is a shell that reads commands from its terminal.

    A program that ``srun --pty`` starts itself, or through a script, is a rank.  So is one that
    another launcher started at the shell.
    """
    task = environ.get("SLURM_TASK_PID", "")
    if "SLURM_PTY_PORT" not in environ or not task.isdecimal() or task == str(os.getpid()):
        return False
    try:
        words = (processes / task / "cmdline").read_bytes().split(b"\0")[1:-1]
        theirs = set((processes / task / "environ").read_bytes().split(b"\0"))
    except OSError:  # a container may hide these files
        return False
    if any(SCRIPT.fullmatch(os.fsdecode(word)) for word in words):
        return False
    ours = {f"{name}={value}" for name, value in environ.items() if name.startswith(OTHERS)}
    return {os.fsencode(text) for text in ours} <= theirs
