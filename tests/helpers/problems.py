"""Small problems for the tests of kernels, and the results of a kernel on them."""

from __future__ import annotations

import itertools
from functools import cache, partial
from typing import Any

import numpy as np

from hpcpgd.kernels.backends.registry import (
    BACKENDS,
    make_device_plan,
    make_plan,
    make_scheduled_plan,
)
from hpcpgd.kernels.blas import blas_library
from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.core.permutation import width
from hpcpgd.kernels.device.device_plan import DeviceRows
from hpcpgd.kernels.schedule.phases import Schedule, divided
from hpcpgd.kernels.schedule.scheduled_plan import single_process

FUNCTIONS = [
    ("sigmoid", "sigmoid", "mse"),
    ("tanh", "softmax", "cross-entropy"),
    ("relu", "sigmoid", "cross-entropy"),
    ("linear", "linear", "mse"),
    ("tanh", "tanh", "mse"),
]


@cache
def the_blas() -> Any:
    found = blas_library.find()
    assert found is not None
    return found


BOUND = {"float64": 1e-12, "float32": 2e-5}


def upload(device: Any, array: Any) -> Any:
    """Return a device's copy of an array."""
    buffer = device.buffer(array.size, array.dtype)
    device.write(buffer, array)
    return buffer


def plan_of(backend: str, network: Network, capacity: int, threads: int, blas: Any) -> Any:
    """Return a plan of a backend on the host, by a schedule if it works by one alone."""
    if not BACKENDS[backend].scheduled:
        return make_plan(backend, network, capacity, threads, blas)
    schedule, place = divided(network, capacity, threads), single_process(threads)
    return make_scheduled_plan(backend, network, capacity, blas, schedule, place)


class Problem:
    """Random rows, labels and parameters for one network, in float64."""

    def __init__(
        self,
        widths: tuple[int, ...],
        rows: int,
        functions: tuple[str, str, str],
        regression: bool = False,
    ) -> None:
        random = np.random.default_rng(7)
        self.widths, self.functions, self.regression = widths, functions, regression
        self.x = random.standard_normal((rows, widths[0]))
        self.labels: Any = random.integers(0, widths[-1], rows)
        if regression:
            self.labels = random.standard_normal((rows, widths[-1]))
        self.parts = [
            (random.standard_normal((i, o)) * 0.4, random.standard_normal(o) * 0.2)
            for i, o in itertools.pairwise(widths)
        ]

    def network(self, dtype: str) -> Network:
        return Network(self.widths, dtype, *self.functions, regression=self.regression)

    def parameters(self, network: Network) -> Any:
        return network.filled(itertools.chain(*self.parts))

    def plan(self, backend: str, dtype: str, threads: int = 1, the: Any = None) -> Any:
        """Return a plan with room to spare, the rows loaded and rubbish behind them."""
        network, rows = self.network(dtype), len(self.x) + 3
        plan = plan_of(backend, network, rows, threads, the or the_blas())
        self._fill(plan)
        return plan

    def scheduled(self, backend: str, dtype: str, schedule: Schedule, *tiles: Any) -> Any:
        """Return a plan like ``plan``'s that works by ``schedule``, a thread each worker."""
        network, place = self.network(dtype), single_process(schedule.workers)
        blas_or_none = None if backend == "loops" else the_blas()
        rest = (schedule, place, None, *tiles)
        plan = make_scheduled_plan(backend, network, len(self.x) + 3, blas_or_none, *rest)
        self._fill(plan)
        return plan

    def _fill(self, plan: Any) -> None:
        rows = len(self.x)
        plan.work.inputs[:] = np.nan
        plan.work.inputs[:rows] = self.x
        plan.work.labels[:rows] = self.labels

    def device_plan(self, backend: str, dtype: str, device: Any, precision: str = "") -> Any:
        """Return a plan on a device with room to spare, and the rows for it."""
        plan = make_device_plan(
            backend, self.network(dtype), len(self.x) + 3, device, precision or dtype
        )
        one = np.dtype(dtype).type
        rows, labels = self.x.astype(dtype), self.labels.astype(np.int32)
        count = len(rows)
        buffers = upload(device, rows), upload(device, labels)
        return plan, DeviceRows(count, *buffers, one(1), one(0), width(count))

    def device_gradient(
        self, plan: Any, rows: DeviceRows, out: Any = None, add: bool = False
    ) -> Any:
        """Return the parts of the gradient and the totals, like ``gradient``."""
        network, device = plan.network, plan.device
        if out is None:
            out = upload(device, np.full(network.size, np.nan, network.dtype))
        parameters = upload(device, self.parameters(network))
        plan.load(rows, 0, rows.rows)
        plan.gradient(parameters, rows.rows, out, add)
        parts = network.parts(device.read(out, network.size)).values()
        return [part.copy() for part in parts], plan.take_totals(rows.rows)

    def gradient(self, plan: Any, out: Any = None, add: bool = False) -> Any:
        """Return the parts (dweight, dbias, …) of the gradient and the totals."""
        network = plan.network
        if out is None:
            out = network.zeros()
            out[:] = np.nan  # earlier contents must not matter
        plan.gradient(self.parameters(network), len(self.x), out, add)
        return [part.copy() for part in network.parts(out).values()], plan.work.take_totals()

    def require_right(self, run: Any, out: Any, dtype: str) -> Any:
        """Compare gradient, and gradient added to it, with the reference; return both's totals.

        ``run(out, add)`` is ``gradient`` or ``device_gradient`` with a plan.
        """
        expected, totals = self.gradient(self.plan("reference", "float64"))
        parts, seen = run(out)
        twice, _ = run(out, add=True)
        for part, double, exact in zip(parts, twice, expected, strict=True):
            scale = np.abs(exact).max() + 1
            assert np.max(np.abs(part - exact), initial=0) / scale < BOUND[dtype]
            assert np.max(np.abs(double - 2 * exact), initial=0) / scale < 2 * BOUND[dtype]
        return seen, totals

    def require_right_on(self, device: Any, backend: str, dtype: str) -> Any:
        """Compare a device's gradients with the reference; return both's totals."""
        plan, rows = self.device_plan(backend, dtype, device)
        out = upload(device, np.full(plan.network.size, np.nan, dtype))
        seen, totals = self.require_right(partial(self.device_gradient, plan, rows), out, dtype)
        np.testing.assert_allclose(seen[[0, 2]], totals[[0, 2]], rtol=BOUND[dtype])
        return seen, totals
