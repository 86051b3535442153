"""Backend ``reference``: plain NumPy in float64, written for readability.

Every other backend is tested against this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hpcpgd.kernels.core.elementwise import CORRECT, EXAMPLES, LOSS
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.workspace import Workspace


def sigmoid(z: Array) -> Array:
    """Compute eq. (3) without overflow for large negative ``z``."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softmax(z: Array) -> Array:
    """Compute the softmax of each row of ``z`` (B, O)."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def gelu_inner(z: Array) -> Array:
    """Compute the argument of tanh in gelu, ``sqrt(2 / pi) (z + 0.044715 z³)``."""
    return np.asarray(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))


def gelu_slope(z: Array) -> Array:
    """Compute the derivative of gelu at ``z``."""
    t = np.tanh(gelu_inner(z))
    inner_slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)
    return np.asarray((1 + t) / 2 + z / 2 * (1 - t**2) * inner_slope)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda z: z,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: np.where(z < 0, 0, z),
    "softmax": softmax,
    "gelu": lambda z: z / 2 * (1 + np.tanh(gelu_inner(z))),
}
# Derivatives f'(z) in terms of a = f(z), that of gelu in terms of z.
DERIVATIVES: dict[str, Callable[[Array], Array]] = {
    "linear": np.ones_like,
    "sigmoid": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a**2,
    "relu": lambda a: (a > 0).astype(a.dtype),
    "gelu": gelu_slope,
}


class Plan:
    """Forward and backward propagation of up to ``capacity`` rows."""

    def __init__(self, network: Network, capacity: int, threads: int, blas: Any) -> None:
        self.network = network
        self.work = Workspace(network, capacity, 1)

    def forward(self, parameters: Array, rows: tuple[int, int]) -> None:
        """Algorithm 3: activations of every layer for ``rows`` (start, stop)."""
        net, here = self.network, slice(*rows)
        for l in range(1, net.depth + 1):
            a = self.work.layer(l - 1)[here]  # (B, I)
            z = a @ net.weights(parameters, l) + net.biases(parameters, l)  # (B, O)
            self.work.kept(l)[here] = z  # for gelu; others replace it by their activations
            self.work.layer(l)[here] = ACTIVATIONS[net.functions[l - 1]](z)

    def deltas(self, parameters: Array, rows: tuple[int, int]) -> None:
        """Algorithm 4: deltas of every layer but the input, for ``rows`` (start, stop)."""
        net, here = self.network, slice(*rows)
        a = self.work.layer(net.depth)[here]  # (B, O)
        error = a - self._targets(here)
        if net.loss == "mse":
            error = error * DERIVATIVES[net.output_activation](a)
        self.work.delta(net.depth)[here] = error
        for l in range(net.depth, 1, -1):
            back = self.work.delta(l)[here] @ net.weights(parameters, l).T  # (B, I)
            slope = DERIVATIVES[net.functions[l - 2]](self.work.kept(l - 1)[here])
            self.work.delta(l - 1)[here] = back * slope

    def weight_gradient(
        self, layer: int, block: tuple[int, int], rows: tuple[int, int], out: Array, add: bool
    ) -> None:
        """Algorithm 4: sums over ``rows`` of ∂W and ∂b, in columns ``block`` (start, stop)."""
        net, here, columns = self.network, slice(*rows), slice(*block)
        a, delta = self.work.layer(layer - 1)[here], self.work.delta(layer)[here, columns]
        dweight = net.weights(out, layer)[:, columns]
        dbias = net.biases(out, layer)[columns]
        dweight[:] = a.T @ delta + (dweight if add else 0)
        dbias[:] = delta.sum(axis=0) + (dbias if add else 0)

    def gradient(self, parameters: Array, count: int, out: Array, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and add their scores."""
        rows = (0, count)
        self.evaluate(parameters, count)
        self.deltas(parameters, rows)
        for l in range(self.network.depth, 0, -1):
            self.weight_gradient(l, (0, self.network.widths[l]), rows, out, add)

    def evaluate(self, parameters: Array, count: int) -> None:
        """Predict the first ``count`` rows and add their loss and correct answers to the totals."""
        self.forward(parameters, (0, count))
        net, work = self.network, self.work
        a = work.layer(net.depth)[:count]
        loss = LOSSES[net.loss, net.output_activation == "softmax"]
        work.totals[0, LOSS] += loss(a, self._targets(slice(count)))
        work.totals[0, EXAMPLES] += count
        if not net.regression:
            work.predicted[:count] = a.argmax(axis=1)
            work.totals[0, CORRECT] += np.sum(work.predicted[:count] == work.labels[:count])

    def _targets(self, here: slice) -> Array:
        """Return the targets y (B, O) of some rows."""
        labels = self.work.labels[here]
        return labels if self.network.regression else one_hot(labels, self.network.widths[-1])

    def close(self) -> None:
        """Do nothing: this plan has no threads."""


def one_hot(labels: Array, classes: int) -> Array:
    """Return the targets y, float64 (B, classes), of integer ``labels`` (B,)."""
    y = np.zeros((len(labels), classes))
    y[np.arange(len(labels)), labels] = 1
    return y


def squared_error(a: Array, y: Array) -> float:
    """Sum ‖y - a‖² over the rows: eq. (6) before the division by their number."""
    return float(np.sum((y - a) ** 2))


def cross_entropy(a: Array, y: Array) -> float:
    """Sum of -log a over the rows, each for the class of its label."""
    return float(-np.sum(np.log(np.maximum(np.sum(a * y, axis=1), 1e-300))))


def binary_cross_entropy(a: Array, y: Array) -> float:
    """Sum over outputs of -(y log a + (1 - y) log(1 - a)).

    An output that is rounded to 1 counts as half a rounding step below 1.
    """
    step = np.finfo(a.dtype).epsneg / 2
    hit = np.where(y == 1, np.maximum(a, 1e-300), np.maximum(1 - a, step))
    return float(-np.sum(np.log(hit)))


LOSSES = {
    ("mse", False): squared_error,
    ("cross-entropy", True): cross_entropy,
    ("cross-entropy", False): binary_cross_entropy,
}
