"""Every GPU kernel against ``reference``, for widths that are multiples of 32 and others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from hpcpgd.engines.parameters import initial_parameters
from hpcpgd.kernels.backends import reference
from hpcpgd.kernels.backends.registry import make_device_plan
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.permutation import width
from hpcpgd.kernels.device.device_plan import DeviceRows
from scripts.bench.verify import parts, relative_error

WIDTHS = (1, 31, 33, 1000, 1023, 1024)
BATCHES = (1, 7, 128, 1000)
QUICK_WIDTHS, QUICK_BATCHES = (1, 33), (7,)
FUNCTIONS = (("sigmoid", "sigmoid", "mse"), ("tanh", "softmax", "cross-entropy"))
# Backend, dtype, precision, and the relative error that is allowed.
WAYS = (
    ("cuda-loops", "float32", "float32", 1e-5),
    ("cuda-loops", "float64", "float64", 1e-12),
    ("cuda", "float32", "float32", 1e-5),
    ("cuda", "float32", "tf32", 2e-2),
    ("cuda", "float64", "float64", 1e-12),
)


@dataclass(frozen=True)
class Finding:
    """One comparison: its name, its largest error, and the error that is allowed."""

    what: str
    error: float
    bound: float

    @property
    def right(self) -> bool:
        """Whether the error is within its bound; false for NaN."""
        return bool(self.error <= self.bound)


def check_kernels(device: Any, quick: bool) -> Iterator[Finding]:
    """Compare the gradient of random problems, summed twice into one vector."""
    widths = QUICK_WIDTHS if quick else WIDTHS
    batches = QUICK_BATCHES if quick else BATCHES
    for hidden, batch, functions in product(widths, batches, FUNCTIONS):
        random = np.random.default_rng([hidden, batch])
        x = random.random((batch, hidden))
        labels = random.integers(0, 10, batch).astype(np.int32)
        shape = (hidden, hidden, 10)
        exact = Network(shape, "float64", *functions)
        expected = parts(exact, _reference(exact, x, labels))
        for backend, dtype, precision, bound in WAYS:
            network = Network(shape, dtype, *functions)
            actual = _on_device(device, backend, precision, network, x, labels)
            error = relative_error(parts(network, actual), expected)
            what = (
                f"{backend} {precision} {functions[0]}/{functions[1]} width {hidden} batch {batch}"
            )
            yield Finding(what, error, bound)


def _reference(network: Network, x: Array, labels: Array) -> Array:
    plan = reference.Plan(network, len(x), 1, None)
    plan.work.inputs[:], plan.work.labels[:] = x, labels
    out = network.zeros()
    plan.gradient(initial_parameters(network, 1), len(x), out, False)
    return 2 * out


def _on_device(
    device: Any, backend: str, precision: str, network: Network, x: Array, labels: Array
) -> Array:
    plan = make_device_plan(backend, network, len(x), device, precision)
    real = np.dtype(network.dtype).type

    def upload(array: Array) -> Any:
        buffer = device.buffer(array.size, array.dtype)
        device.write(buffer, array)
        return buffer

    features = upload(x.astype(network.dtype))
    rows = DeviceRows(len(x), features, upload(labels), real(1), real(0), width(len(x)))
    parameters = upload(initial_parameters(network, 1))
    out = upload(np.full(network.size, np.nan, network.dtype))
    for add in (False, True):
        plan.load(rows, 0, len(x))
        plan.gradient(parameters, len(x), out, add)
    return np.asarray(device.read(out, network.size))
