"""Threads, BLAS and GPU of this rank."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from hpcpgd.config.run_config import RunConfig
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.backends.registry import DEVICE_BACKENDS
from hpcpgd.kernels.blas import blas_library
from hpcpgd.kernels.blas.numpy_gemm import MatmulStandIn
from hpcpgd.machine.cores import fair_share, fair_threads
from hpcpgd.machine.gpu import Gpu, claim_gpu
from hpcpgd.parallel import mpi

# Backends whose products the BLAS divides over its own threads, if they are large enough.
THREADED_BY_BLAS = ("reference", "gemv")
# Floating-point operations of a rank's slice below which waking a team of threads (0.1 ms a
# step) costs more than the threads save.
WORTH_A_TEAM = {"gemm": 50e6, "loops": 10e6}


@dataclass(frozen=True)
class Resources:
    """What this rank computes with.

    Attributes
    ----------
    threads : int
        Threads of this rank, the same on all ranks.
    oversubscribed : bool
        Whether some machine has more threads than cores that its ranks may use.
    blas : Blas, MatmulStandIn or None
    gpu : Gpu or None
        None for backends that compute in the host's memory.
    """

    threads: int
    oversubscribed: bool
    blas: Any
    gpu: Gpu | None = None


def find_blas(backend: str) -> Any:
    """Return the BLAS for ``backend``: ``$HPCPGD_BLAS``, else the first found.

    None for the backends that call none.

    Raises
    ------
    UnavailableError
        If the named library cannot be used, or if ``gemv`` finds none.
    """
    if backend == "loops" or backend in DEVICE_BACKENDS:
        return None
    # NumPy, which backend reference calls, cannot be told to use another library.
    path = os.environ.get("HPCPGD_BLAS") if backend != "reference" else None
    try:
        found = blas_library.find(path)
    except OSError as error:
        raise UnavailableError(f"HPCPGD_BLAS={path}: {error}") from None
    if found is not None:
        return found
    if backend == "gemv":
        raise UnavailableError(
            "backend gemv: no BLAS with cblas_sgemv was found; install scipy-openblas32 "
            "or name a library in HPCPGD_BLAS"
        )
    return MatmulStandIn()


def _one_at_a_time(config: RunConfig) -> bool:
    """Say whether the reduction wants backends of single examples on one thread."""
    return config.reduction == "reproducible" and config.backend in ("loops", "gemv")


def claim(ranks: mpi.Ranks, config: RunConfig, flops: float) -> Resources:
    """Decide the threads, find the BLAS and open the GPU; collective.

    Parameters
    ----------
    ranks : Ranks
    config : RunConfig
    flops : float
        Floating-point operations of a rank's slice of a minibatch.

    Raises
    ------
    UnavailableError
        The same on every rank.
    """
    share = fair_share(ranks)
    threads = config.threads
    if threads == "auto" and (config.backend in DEVICE_BACKENDS or _one_at_a_time(config)):
        threads = 1
    if threads == "auto":
        # The same on all ranks: the rank with the fewest cores sets the pace anyway.
        fewest = -mpi.allreduce_max(ranks.comm, -float(fair_threads(share)))
        threads = int(fewest) if flops >= WORTH_A_TEAM.get(config.backend, 0) else 1
    threads = int(threads)
    oversubscribed = mpi.allreduce_max(ranks.comm, float(threads > share + 1e-6)) > 0
    with mpi.agreed(ranks.comm):
        blas = find_blas(config.backend)
    threadpool_limits(threads if config.backend in THREADED_BY_BLAS else 1, user_api="blas")
    gpu = claim_gpu(ranks, config.backend) if config.backend in DEVICE_BACKENDS else None
    return Resources(threads, oversubscribed, blas, gpu)
