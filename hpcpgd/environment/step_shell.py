"""A shell within a SLURM step: what is typed there is no rank of that step.

``srun -n 4 --pty bash`` starts four shells, of which one has the terminal.  All that is typed
there inherits the variables of the first of four ranks; the other three never come.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

PROCESSES = Path("/proc")
SCRIPT = re.compile(r"[^-].*|-[a-zA-Z]*c")  # what a shell runs in place of what is typed
# What the step told its first rank, beyond what a batch script is told.
STEP_PREFIXES = (
    *("PMI_", "PMIX_", "SLURM_STEP", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_GTIDS"),
    *("SLURM_TASK_PID", "SLURM_SRUN_COMM_", "SLURM_MPI_TYPE", "SLURM_PMIX"),
)
OF_SALLOC = "4294967290"  # the step of a shell that salloc starts, which holds no cores
# What launchers that were started at that shell set anew.
OTHERS = ("PMI_", "PMIX_", "HYDI_", "OMPI_COMM_", "MV2_COMM_", "MVP_COMM_")


def leave_step(environ: MutableMapping[str, str], processes: Path = PROCESSES) -> None:
    """Take the step's variables from a process that was typed at a shell within it.

    ``SLURM_PTY_PORT`` stays, which tells ``in_step_shell``, but where other steps need not wait.
    """
    if _was_typed(environ, processes):
        if environ.get("SLURM_STEP_ID") == OF_SALLOC:
            del environ["SLURM_PTY_PORT"]
        for name in [name for name in environ if name.startswith(STEP_PREFIXES)]:
            del environ[name]


def in_step_shell(environ: Mapping[str, str]) -> bool:
    """Return whether this was typed at a shell that holds the cores of other steps."""
    return "SLURM_PTY_PORT" in environ and "SLURM_STEP_NUM_TASKS" not in environ


def _was_typed(environ: Mapping[str, str], processes: Path) -> bool:
    """Return whether the step's task is a shell that takes commands from its terminal.

    A program that ``srun --pty`` starts itself, or by a script, is a rank; so is one that
    another launcher started at the shell.
    """
    task = environ.get("SLURM_TASK_PID", "")
    if "SLURM_PTY_PORT" not in environ or not task.isdecimal() or task == str(os.getpid()):
        return False
    try:
        words = (processes / task / "cmdline").read_bytes().split(b"\0")[1:-1]
        theirs = set((processes / task / "environ").read_bytes().split(b"\0"))
    except OSError:  # in a container, say: nobody can tell
        return False
    if any(SCRIPT.fullmatch(os.fsdecode(word)) for word in words):
        return False
    ours = {f"{name}={value}" for name, value in environ.items() if name.startswith(OTHERS)}
    return {os.fsencode(text) for text in ours} <= theirs
