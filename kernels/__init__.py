"""The arithmetic: pure functions on arrays.  No MPI, no files, no configuration.

Each backend is one module.  Those that schedules deal out (``gemm``, and for reduction
``reproducible`` also ``loops`` and ``gemv``) offer three functions that compute units of a
product (``units``), which a ``ScheduledPlan`` runs; the others, and these on one example at a
time, have a class ``Plan`` with ``gradient`` and ``evaluate``.  A plan's buffers are
``plan.work``.  The backends on a GPU share ``device_plan`` and see the device through
``device``.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

BACKENDS = {
    "reference": "hpcpgd.kernels.reference",
    "loops": "hpcpgd.kernels.loops",
    "gemv": "hpcpgd.kernels.gemv",
    "gemm": "hpcpgd.kernels.gemm",
    "cuda-loops": "hpcpgd.kernels.cuda_loops",
    "cuda": "hpcpgd.kernels.cuda",
}
SCHEDULED = ("gemm",)  # whose every plan works by a schedule
DEVICE_BACKENDS = ("cuda-loops", "cuda")


class Plan(Protocol):
    """What every backend that computes in the host's memory offers."""

    network: Any
    work: Any

    def gradient(self, parameters: Any, count: int, out: Any, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and their scores."""

    def evaluate(self, parameters: Any, count: int) -> None:
        """Predict the first ``count`` rows and add up loss and correct answers."""

    def close(self) -> None:
        """End the threads; once they have ended, memory that they work on may be freed."""


def make_plan(backend: str, network: Any, capacity: int, threads: int, blas: Any) -> Plan:
    """Return a plan of a backend in the host's memory for up to ``capacity`` rows."""
    if backend in SCHEDULED:
        from hpcpgd.kernels.schedule import divided
        from hpcpgd.kernels.scheduled import alone

        schedule, place = divided(network, capacity, threads), alone(threads)
        made: Plan = make_scheduled_plan(backend, network, capacity, blas, schedule, place)
        return made
    plan: Plan = importlib.import_module(BACKENDS[backend]).Plan(network, capacity, threads, blas)
    return plan


def make_scheduled_plan(
    backend: str,
    network: Any,
    capacity: int,
    blas: Any,
    schedule: Any,
    place: Any,
    crew: Any = None,
) -> Any:
    """Return a plan of a backend with units that works by ``schedule``."""
    from hpcpgd.kernels.scheduled import ScheduledPlan

    module = importlib.import_module(BACKENDS[backend])
    return ScheduledPlan(network, capacity, module, blas, schedule, place, crew)


def make_device_plan(backend: str, network: Any, capacity: int, device: Any, precision: str) -> Any:
    """Return a plan of a backend on a GPU for up to ``capacity`` rows."""
    return importlib.import_module(BACKENDS[backend]).Plan(network, capacity, device, precision)
