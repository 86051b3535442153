"""``python -m tests.faults.stranger FACT WORDS``: train on a rank that differs in one fact."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np

from hpcpgd.environment.fault_points import hooks
from hpcpgd.train import cli


def _version(name: str) -> str:
    return "0.0.1"


def differ(fact: str) -> None:
    """Make this process differ in one fact from the rest of the job."""
    from hpcpgd.environment import provenance
    from hpcpgd.parallel import mpi

    agreement: Any = import_module("hpcpgd.train.same_on_all_ranks")  # as mypy sees no import of it
    if fact == "hpcpgd":
        agreement.__version__ = "0.0.1"
    elif fact in ("numba", "mpi4py"):
        agreement.version = _version
    elif fact == "MPI":
        mpi.implementation = lambda: "Another MPI 1.0"
    elif fact == "BLAS":
        provenance.blas_library = lambda blas, kernel=True: "openblas 0.0.1 (libopenblas.so)"
    elif fact == "rows":
        hooks["rows"] = lambda arrays: _flip_bit(arrays[0])
    elif fact == "weights":
        hooks["planning"] = _flip_bit
    else:
        raise SystemExit(f"stranger: unknown fact {fact}")


def _flip_bit(array: Any) -> None:
    array.reshape(-1)[array.size // 2 :].view(np.uint8)[0] ^= 1


if __name__ == "__main__":
    differ(sys.argv[1])
    sys.exit(cli.main(sys.argv[2:]))
