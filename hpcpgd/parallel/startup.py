"""How MPI is initialised and finalised: what would break it, and how signals end a wait."""

from __future__ import annotations

import ctypes
import locale
import os
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from hpcpgd.cli.launcher import launcher_rank, launcher_size, part, several_ranks
from hpcpgd.environment.memory_limits import few, too_little
from hpcpgd.errors import UnavailableError
from hpcpgd.parallel.stop import attended

# mpi4py's variables, such as MPI4PY_RC_INITIALIZE, overrule the settings that we make in Python.
OVERRULING = "MPI4PY_RC_"
# Open MPI prints an error for each window that its UCX component cannot make, and makes it with
# another component.  Our windows are memory shared within a node, which needs no UCX.
QUIET = {"OMPI_MCA_osc": "^ucx"}
WAITING_SECONDS = 60.0  # in MPI_Init, after which a line says so


def settle(environ: MutableMapping[str, str]) -> None:
    """Remove from this process's environment what breaks MPI, before its library is loaded."""
    for name in [name for name in environ if name.startswith(OVERRULING)]:
        del environ[name]
    for name, value in QUIET.items():
        environ.setdefault(name, value)
    _settle_letters()


def _settle_letters() -> None:
    """Set another locale for letters where i and I are two letters, as in Turkish.

    UCX, in MPICH and Open MPI, ignores case by the locale's rules when it looks up words of its
    configuration.  It then does not find DIAG as "diag", and fails.
    """
    libc = ctypes.CDLL(None)
    if libc.tolower(ord("I")) == ord("i") and libc.toupper(ord("i")) == ord("I"):
        return
    for name in ("C.UTF-8", "C"):
        with suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, name)
            return


class Endings:
    """How a process ends while MPI starts: by a signal, or because MPI cannot start.

    Parameters
    ----------
    program : str
        Begins the message.
    """

    def __init__(self, program: str) -> None:
        self.program = program

    def at_signal(self, code: int) -> None:
        """End this process with an exit code, after a signal."""
        os._exit(code)

    def at_failure(self) -> NoReturn:
        """End this process after MPI_Init failed and printed its reason."""
        low = few()
        causes = [f"{low}, which may be too little"] if low else []
        if several_ranks():
            causes.append("if mpirun or srun is not of mpi4py's MPI library, take its own")
        cure = "; ".join([*causes, "hpcpgd doctor looks for other causes"])
        error = UnavailableError(f"MPI_Init failed, its own words stand above: {cure}")
        os._exit(part(self.program, error))


def initialise(mpi: Any, endings: Endings) -> None:
    """Initialise MPI, which waits for all ranks; ``mpi`` is mpi4py's module.

    A signal ends this process meanwhile, and after a minute a line says that it waits.

    Raises
    ------
    UnavailableError
        If a limit of this process leaves too little memory for MPI and a run.
    """
    if refused := too_little():
        raise UnavailableError(refused)
    waiting = threading.Timer(WAITING_SECONDS, _tell_that_it_waits, [endings.program])
    waiting.daemon = True
    waiting.start()
    with attended(endings.program, endings.at_signal), _ended_by_exit(endings):
        # Only at this level does MPICH yield the core while it waits: with 32 ranks on
        # 2 cores an Allreduce of 10 kB takes 2 ms, at a lower level 350 ms.
        level, provided = ctypes.c_int(mpi.THREAD_MULTIPLE), ctypes.c_int()
        _call(mpi, "MPI_Init_thread", None, None, level, ctypes.byref(provided))
    waiting.cancel()
    for comm in (mpi.COMM_SELF, mpi.COMM_WORLD):  # as mpi4py's own Init_thread does
        comm.Set_errhandler(mpi.ERRORS_RETURN)


def finalise(mpi: Any) -> None:
    """Finalise MPI, which may wait for all ranks; Ctrl-C ends this process meanwhile."""
    with attended("hpcpgd"):
        _call(mpi, "MPI_Finalize")


def _call(mpi: Any, name: str, *words: Any) -> None:
    """Call a function of the MPI library, and let Python's other threads run meanwhile.

    mpi4py's own functions hold the interpreter's lock until all ranks have arrived.  No other
    thread could then watch the clock or react to a signal.
    """
    code = getattr(ctypes.CDLL(mpi.__file__), name)(*words)
    if code != mpi.SUCCESS:
        raise UnavailableError(f"{name} failed: {mpi.Get_error_string(code)}")


def _tell_that_it_waits(program: str) -> None:
    size = launcher_size()
    if size is not None and size[1] > 1 and launcher_rank() == 0:
        text = (
            f"{program}: warning: MPI_Init has waited {WAITING_SECONDS:.0f} s for the {size[1]} "
            f"ranks that the launcher started ({size[0]}): do all of them run this program?"
        )
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _ended_by_exit(endings: Endings) -> Iterator[None]:
    """Call ``at_failure`` if the body ends this process by C's ``exit``, as MPICH does."""
    within = True

    def hook(_: Any) -> None:
        if within:
            endings.at_failure()

    libc, mark = ctypes.CDLL(None), ctypes.c_char()
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(hook)
    libc.__cxa_atexit(function, None, ctypes.byref(mark))
    try:
        yield
    finally:
        within = False
        libc.__cxa_finalize(ctypes.byref(mark))  # removes the hook
