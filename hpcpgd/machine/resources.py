"""The threads, the BLAS and the GPU of this rank."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import RunConfig
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.backends.registry import BACKENDS, TILE_PARTS
from hpcpgd.kernels.blas import blas_library
from hpcpgd.kernels.blas.blas_library import Blas
from hpcpgd.kernels.blas.numpy_gemm import MatmulStandIn
from hpcpgd.kernels.tiles.amx import refusal
from hpcpgd.machine.cores import fair_share, fair_threads
from hpcpgd.machine.gpu import Gpu, claim_gpu
from hpcpgd.parallel import mpi


@dataclass(frozen=True)
class Resources:
    """The resources that this rank computes with.

    Attributes
    ----------
    threads : int
        Number of threads, the same on all ranks.
    oversubscribed : bool
        Whether some machine has more threads than cores that its ranks may use.
    blas : Blas, MatmulStandIn or None
    gpu : Gpu or None
        None for backends that compute on the host.
    """

    threads: int
    oversubscribed: bool
    blas: Any
    gpu: Gpu | None = None


def find_blas(backend: str) -> Any:
    """Return the BLAS for ``backend``: the one in ``$HPCPGD_BLAS``, else the first on the system.

    It is None for backends that do not call a BLAS.

    Raises
    ------
    UnavailableError
        If the named library cannot be used, or if there is none and NumPy cannot replace it.
    """
    traits = BACKENDS[backend]
    if not traits.blas:
        return None
    path = None if traits.through_numpy else os.environ.get("HPCPGD_BLAS")
    try:
        library = blas_library.find(path)
    except OSError as error:
        expected = ": expected mkl, or the path of a library" * (path != "mkl")
        raise UnavailableError(f"HPCPGD_BLAS={path}: {error}{expected}") from None
    if library is not None:
        return library
    if traits.blas not in MatmulStandIn.ROUTINES:
        raise UnavailableError(
            f"backend {backend}: no BLAS with cblas_s{traits.blas} was found; install "
            "scipy-openblas32 or name a library in HPCPGD_BLAS"
        )
    return MatmulStandIn()


def claim(ranks: mpi.Ranks, config: RunConfig, flops: float) -> Resources:
    """Decide the number of threads, find the BLAS and open the GPU; collective.

    Parameters
    ----------
    flops : float
        Floating-point operations for a rank's slice of a minibatch.

    Raises
    ------
    UnavailableError
        The same on every rank.
    """
    share = fair_share(ranks)
    threads, backend = config.threads, BACKENDS[config.backend]
    with mpi.agreed(ranks.comm):
        blas = find_blas(config.backend)
        unthreaded = isinstance(blas, Blas) and blas.mkl != "" and not backend.own_threads
        if unthreaded and threads not in ("auto", 1):
            raise UnavailableError(
                f"backend {config.backend} with threads {threads}: oneMKL has one thread a call "
                "here: give --threads 1 and more ranks, or name another library in HPCPGD_BLAS"
            )
    one_at_a_time = REDUCTIONS[config.reduction].same_bits and not backend.scheduled
    if threads == "auto" and (backend.on_device or one_at_a_time or unthreaded):
        threads = 1
    if threads == "auto":
        # The same number on all ranks: the rank with the fewest cores sets the pace anyway.
        fewest = -mpi.allreduce_max(ranks.comm, -float(fair_threads(share)))
        threads = int(fewest) if flops >= backend.worth_a_team else 1
    threads = int(threads)
    oversubscribed = mpi.allreduce_max(ranks.comm, float(threads > share + 1e-6)) > 0
    with mpi.agreed(ranks.comm):
        if config.matmul_precision in TILE_PARTS and refusal():
            raise UnavailableError(
                f"matmul-precision {config.matmul_precision}: {refusal()}; use another processor, "
                "or --matmul-precision float32"
            )
    threadpool_limits(1 if backend.own_threads else threads, user_api="blas")
    gpu = claim_gpu(ranks, config.backend) if backend.on_device else None
    return Resources(threads, oversubscribed, blas, gpu)
