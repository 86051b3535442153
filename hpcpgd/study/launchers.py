"""How a run of several ranks is started: by ``mpiexec``, or by a command of the user."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.cli.launcher import LAUNCHER_PREFIXES, without_launcher
from hpcpgd.environment.programs import answer_of, run_program
from hpcpgd.environment.step_shell import in_step_shell
from hpcpgd.errors import UnavailableError, UsageError

ASK_SECONDS = 30.0


@dataclass(frozen=True)
class Launcher:
    """A program that starts ranks.

    Attributes
    ----------
    words : tuple of str
        The program and its options, without the number of ranks.
    in_allocation : bool
        Whether it looks for the nodes of a SLURM job in the environment.
    """

    words: tuple[str, ...]
    in_allocation: bool

    @property
    def is_srun(self) -> bool:
        """Whether it is SLURM's srun."""
        return Path(self.words[0]).name == "srun"

    def command(self, ranks: int, threads: int) -> list[str]:
        """Return the command that starts a program on ``ranks``, each of ``threads``."""
        if not self.is_srun:
            return [*self.words, "-n", str(ranks)]
        sizes = [f"--ntasks={ranks}", f"--cpus-per-task={threads}"]
        place = placement(ranks, threads, os.environ)  # first, so that the user's own nodes win
        return [self.words[0], *place, *self.words[1:], *sizes, "--kill-on-bad-exit=1"]

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes, without what marks ranks of this job."""
        if not self.in_allocation:
            return without_launcher(os.environ)
        others = tuple(prefix for prefix in LAUNCHER_PREFIXES if prefix != "SLURM_")
        return {k: v for k, v in os.environ.items() if not k.startswith(others)}

    def why_ended(self) -> str:
        """Return why SLURM may have ended this job, "" if the job still runs.

        A run that was ended with the job has not failed.
        """
        job = os.environ.get("SLURM_JOB_ID")
        if not self.in_allocation or job is None:
            return ""
        question = ["squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T"]
        state = [*answer_of(question, ASK_SECONDS).split(), "nothing"][0]
        said = f"squeue says {state} of job {job}, not RUNNING: the job seems to be over"
        return "" if state == "RUNNING" else said


def tasks_per_node(environ: Mapping[str, str]) -> int:
    """Return how many ranks each node of a SLURM job can have."""
    tasks = re.findall(r"(\d+)(?:\(x\d+\))?", environ.get("SLURM_TASKS_PER_NODE", "1"))
    return min(map(int, tasks))


def placement(ranks: int, threads: int, environ: Mapping[str, str]) -> list[str]:
    """Return the option that lets srun fill as few nodes of its job as the ranks need.

    Without it, srun spreads the ranks over all nodes.
    """
    nodes = environ.get("SLURM_JOB_NUM_NODES")
    if nodes is None:
        return []
    cores = tasks_per_node(environ) * int(environ.get("SLURM_CPUS_PER_TASK", "1"))
    return [f"--nodes={min(-(-ranks // max(cores // threads, 1)), int(nodes))}"]


def find(named: str | None) -> Launcher:
    """Return the launcher that the user names, or else the ``mpiexec`` of this machine.

    Raises
    ------
    UnavailableError
        If there is none.
    UsageError
        If what was named is empty or has an open quote.
    """
    if named is None:
        return Launcher(_own_mpiexec(), in_allocation=False)
    try:
        words = tuple(shlex.split(named))
    except ValueError as error:
        raise UsageError(f"--launcher {named}: {error}") from None
    if not words:
        raise UsageError("--launcher: expected a command such as 'srun --mpi=pmi2'")
    if shutil.which(words[0]) is None:
        raise UnavailableError(f"--launcher: {words[0]} was not found in PATH")
    launcher = Launcher(words, in_allocation=True)
    if launcher.is_srun and in_step_shell(os.environ) and "--overlap" not in words:
        raise UsageError(
            f"--launcher {named}: this shell is a step itself (srun --pty), and others wait until "
            "it ends: give 'srun --overlap', or start the shell with salloc"
        )
    return launcher


def mpiexec_here() -> str | None:
    """Return the ``mpiexec`` beside this Python, else that in PATH; None without one."""
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("mpiexec")


def _own_mpiexec() -> tuple[str, ...]:
    """Return ``mpiexec`` with options so that ranks are not bound and may be more than cores.

    MPICH needs no options.  Open MPI would bind a rank to one core, with all its threads.
    """
    mpiexec = mpiexec_here()
    if mpiexec is None:
        raise UnavailableError(
            "no mpiexec was found beside Python or in PATH: load the site's MPI module, "
            "or pip install 'hpcpgd[mpich]'"
        )
    try:
        asked = run_program([mpiexec, "--version"], ASK_SECONDS, without_launcher(os.environ))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{mpiexec}: {error}") from None
    open_mpi = any(name in asked.stdout for name in ("Open MPI", "OpenRTE"))
    return (mpiexec, *(("--bind-to", "none", "--oversubscribe") if open_mpi else ()))
