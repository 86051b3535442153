"""``python stranger.py FACT WORDS``: hpcpgd train on a rank that differs in one fact."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np

from hpcpgd.train import cli


def _version(name: str) -> str:
    return "0.0.1"


def differ(fact: str) -> None:
    """Make this process another than the rest of the job."""
    from hpcpgd.environment import provenance
    from hpcpgd.parallel import mpi
    from hpcpgd.train import distribute, session

    agreement: Any = import_module(
        "hpcpgd.train.same_on_all_ranks"
    )  # what it imports is not for others
    if fact == "hpcpgd":
        agreement.__version__ = "0.0.1"
    elif fact in ("numba", "mpi4py"):
        agreement.version = _version
    elif fact == "MPI":
        mpi.implementation = lambda: "Another MPI 1.0"
    elif fact == "BLAS":
        provenance.blas_library = lambda blas, kernel=True: "openblas 0.0.1 (libopenblas.so)"
    elif fact == "rows":
        _spoil(distribute, "_spread")
    elif fact == "weights":
        _spoil(session, "initial_parameters")
    else:
        raise SystemExit(f"stranger: unknown fact {fact}")


def _spoil(module: Any, name: str) -> None:
    """Let a function's array come with one bit changed."""
    inner = getattr(module, name)

    def outer(*arguments: Any) -> Any:
        found = inner(*arguments)
        if found.size:
            found.reshape(-1)[found.size // 2 :].view(np.uint8)[0] ^= 1
        return found

    setattr(module, name, outer)


if __name__ == "__main__":
    differ(sys.argv[1])
    sys.exit(cli.main(sys.argv[2:]))
