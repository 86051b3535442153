"""Start the benchmark on two ranks, without variables that slow the BLAS down."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from hpcpgd.study.launchers import mpiexec_here

RANKS = 2
# A shell may export these; the first halves OpenBLAS's GEMM on a machine with AVX-512.
UNWANTED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
# The ranks have this variable, which lists which of the above were set.
MARK = "HPCPGD_BENCH_UNSET"


def launched() -> bool:
    """Return whether this process is one of the ranks."""
    return MARK in os.environ


def unset() -> list[str]:
    """Return the variables that were set and have been removed."""
    return [name for name in os.environ[MARK].split(",") if name]


def relaunch(program: Sequence[str]) -> int:
    """Run Python with the arguments ``program`` on two ranks and return the exit code."""
    mpiexec = mpiexec_here()
    if mpiexec is None:
        print("bench_train: no mpiexec beside this Python or on the path", file=sys.stderr)
        return 69
    environ = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    environ[MARK] = ",".join(name for name in UNWANTED if name in os.environ)
    command = [mpiexec, "-n", str(RANKS), sys.executable, *program]
    return subprocess.run(command, env=environ, check=False).returncode
