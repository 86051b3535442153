"""Small problems for the kernels' tests, and what a kernel makes of them."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np

from hpcpgd.kernels import blas, make_plan
from hpcpgd.kernels.network import Network

FUNCTIONS = [
    ("sigmoid", "sigmoid", "mse"),
    ("tanh", "softmax", "cross-entropy"),
    ("relu", "sigmoid", "cross-entropy"),
    ("linear", "linear", "mse"),
    ("tanh", "tanh", "mse"),
]


@cache
def the_blas() -> Any:
    found = blas.find()
    assert found is not None
    return found


class Problem:
    """Random rows, labels and parameters for one network, in float64."""

    def __init__(self, widths: tuple[int, ...], rows: int, functions: tuple[str, str, str]) -> None:
        random = np.random.default_rng(7)
        self.widths, self.functions = widths, functions
        self.x = random.standard_normal((rows, widths[0]))
        self.labels = random.integers(0, widths[-1], rows)
        self.parts = [
            (random.standard_normal((i, o)) * 0.4, random.standard_normal(o) * 0.2)
            for i, o in itertools.pairwise(widths)
        ]

    def network(self, dtype: str) -> Network:
        return Network(self.widths, dtype, *self.functions)

    def parameters(self, network: Network) -> Any:
        flat = network.zeros()
        for layer, (weights, biases) in enumerate(self.parts, 1):
            network.weights(flat, layer)[:] = weights
            network.biases(flat, layer)[:] = biases
        return flat

    def plan(self, backend: str, dtype: str, threads: int = 1, the: Any = None) -> Any:
        """Return a plan with room to spare, the rows loaded and rubbish behind them."""
        network = self.network(dtype)
        rows = len(self.x)
        plan = make_plan(backend, network, rows + 3, threads, the or the_blas())
        plan.work.inputs[:] = np.nan
        plan.work.inputs[:rows] = self.x
        plan.work.labels[:rows] = self.labels
        return plan

    def gradient(self, plan: Any, out: Any = None, add: bool = False) -> Any:
        """Return the parts (dweight, dbias, …) of the gradient and the totals."""
        network = plan.network
        if out is None:
            out = network.zeros()
            out[:] = np.nan  # what stood there before must not matter
        plan.gradient(self.parameters(network), len(self.x), out, add)
        layers = range(1, network.depth + 1)
        parts = [f(out, layer) for layer in layers for f in (network.weights, network.biases)]
        return [part.copy() for part in parts], plan.work.take_totals()
