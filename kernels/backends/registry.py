"""The backends by name: their traits and their plans."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class BackendTraits:
    """What a backend can do and what it needs, known without importing its module."""

    module: str  # imported when a plan is made
    gflops: float  # 10⁹ operations a second of a core or GPU: a first estimate until measured
    # Time to compile its kernels for the host on one core, rounded (AMD EPYC 9004, empty cache).
    compile_seconds: float = 1.0
    on_device: bool = False  # computes on a GPU, with one host thread per rank
    units: bool = False  # offers units of products, which schedules assign to workers
    scheduled: bool = False  # all its plans work by a schedule: its module has no ``Plan``
    in_pieces: bool = False  # parts of its gradient are complete before others are computed
    own_threads: bool = False  # divides its work over threads; else the BLAS may use threads
    # Floating-point operations of a rank's slice below which waking these threads (0.1 ms a
    # step) costs more time than they save.
    worth_a_team: float = 0.0
    blas: str = ""  # the routine of CBLAS that it requires, "" if it calls none
    through_numpy: bool = False  # calls BLAS through NumPy: the user cannot choose the library
    precisions: tuple[str, ...] = ("float32", "float64")  # of products; the default dtype first


# Precisions of products on AMX tiles: the bfloat16 parts that a factor is split into.
TILE_PARTS = {"bf16": 1, "bf16x6": 3}

BACKENDS = {
    "reference": BackendTraits(
        "hpcpgd.kernels.backends.reference", 20.0,
        blas="gemm", through_numpy=True, precisions=("float64",),
    ),
    "loops": BackendTraits(
        "hpcpgd.kernels.backends.loops", 30.0, compile_seconds=3.0, units=True, own_threads=True,
        worth_a_team=10e6,
    ),
    "gemv": BackendTraits(
        "hpcpgd.kernels.backends.gemv", 10.0, compile_seconds=3.0, units=True, blas="gemv"
    ),
    "gemm": BackendTraits(
        "hpcpgd.kernels.backends.gemm", 150.0, compile_seconds=7.0, units=True, scheduled=True,
        in_pieces=True, own_threads=True, worth_a_team=50e6, blas="gemm",
        precisions=("float32", "float64", *TILE_PARTS),
    ),
    "cuda-loops": BackendTraits("hpcpgd.kernels.backends.cuda_loops", 10_000.0, on_device=True),
    "cuda": BackendTraits(
        "hpcpgd.kernels.backends.cuda", 10_000.0, on_device=True, in_pieces=True,
        precisions=("float32", "float64", "tf32"),
    ),
}  # fmt: skip


class Plan(Protocol):
    """The interface of every plan that computes in the host's memory."""

    network: Any
    work: Any

    def gradient(self, parameters: Any, count: int, out: Any, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and add their scores.

        ``parameters`` and ``out`` are flat vectors, shape (size,).  With ``add`` the sum is
        added to ``out``, else it replaces it.
        """

    def evaluate(self, parameters: Any, count: int) -> None:
        """Predict the first ``count`` rows and add their loss and correct answers to the totals."""

    def close(self) -> None:
        """End the threads and wait for them; only then may the memory they use be freed."""


def make_plan(backend: str, network: Any, capacity: int, threads: int, blas: Any) -> Plan:
    """Return a plan for up to ``capacity`` rows of a backend, without a schedule."""
    plan: Plan = _module(backend).Plan(network, capacity, threads, blas)
    return plan


def make_scheduled_plan(
    backend: str,
    network: Any,
    capacity: int,
    blas: Any,
    schedule: Any,
    place: Any,
    pool: Any = None,
    precision: str = "",
    byte_scale: float | None = None,
) -> Any:
    """Return a plan for up to ``capacity`` rows of a backend with units, by ``schedule``.

    With a ``precision`` of ``TILE_PARTS`` its products run on tiles, and the input rows are
    bytes times ``byte_scale`` if that is given; otherwise both are ignored.
    """
    from hpcpgd.kernels.schedule.scheduled_plan import ScheduledPlan

    if precision in TILE_PARTS:
        from hpcpgd.kernels.backends.tiled import tile_calls

        library: Any = tile_calls(TILE_PARTS[precision], byte_scale, place.threads)
    else:
        library = _module(backend).calls(blas, network.dtype)
    return ScheduledPlan(network, capacity, library, blas, schedule, place, pool)


def make_device_plan(backend: str, network: Any, capacity: int, device: Any, precision: str) -> Any:
    """Return a plan for up to ``capacity`` rows of a backend on a GPU."""
    return _module(backend).Plan(network, capacity, device, precision)


def _module(backend: str) -> Any:
    return importlib.import_module(BACKENDS[backend].module)
