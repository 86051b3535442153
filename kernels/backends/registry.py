"""The backends by name, and the plan that each makes."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

BACKENDS = {
    "reference": "hpcpgd.kernels.backends.reference",
    "loops": "hpcpgd.kernels.backends.loops",
    "gemv": "hpcpgd.kernels.backends.gemv",
    "gemm": "hpcpgd.kernels.backends.gemm",
    "cuda-loops": "hpcpgd.kernels.backends.cuda_loops",
    "cuda": "hpcpgd.kernels.backends.cuda",
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
        from hpcpgd.kernels.schedule.phases import divided
        from hpcpgd.kernels.schedule.scheduled_plan import single_process

        schedule, place = divided(network, capacity, threads), single_process(threads)
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
    pool: Any = None,
) -> Any:
    """Return a plan of a backend with units that works by ``schedule``."""
    from hpcpgd.kernels.schedule.scheduled_plan import ScheduledPlan

    module = importlib.import_module(BACKENDS[backend])
    return ScheduledPlan(network, capacity, module, blas, schedule, place, pool)


def make_device_plan(backend: str, network: Any, capacity: int, device: Any, precision: str) -> Any:
    """Return a plan of a backend on a GPU for up to ``capacity`` rows."""
    return importlib.import_module(BACKENDS[backend]).Plan(network, capacity, device, precision)
