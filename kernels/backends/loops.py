"""Backend ``loops``: compiled loops, one example at a time; no BLAS.

With one thread this is the paper's Naive Serial.  With several, each thread sums the gradient
of its share of the examples into a private vector, and the vectors are then added: algorithm
5, the paper's Multicore Parallel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hpcpgd.kernels.backends import by_example
from hpcpgd.kernels.core.arithmetic import dot, fma
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import copy
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.views import matrix_at
from hpcpgd.kernels.schedule.units import offer


class LoopsCalls(NamedTuple):
    """The library of this backend, which calls none; the type selects its functions."""

    none: int


def calls(blas: Any, dtype: str) -> LoopsCalls:
    """Return the library argument of the products; ``blas`` is not used."""
    return LoopsCalls(0)


@compiled(inline=False)
def _multiply_transposed(
    library: LoopsCalls, weights: Array, begin: int, x: Array, biases: Array, z: Array
) -> None:
    copy(biases[begin : begin + z.size], z)
    for i in range(x.size):
        # Contiguous, unlike a block of columns, and without the checks of a slice.
        row = matrix_at(weights, i * weights.shape[1] + begin, 1, z.size)[0]
        for j in range(z.size):
            z[j] = fma(row[j], x[i], z[j])


@compiled(inline=False)
def _multiply(library: LoopsCalls, weights: Array, delta: Array, back: Array) -> None:
    for i in range(back.size):
        back[i] = dot(weights[i], delta)


@compiled(inline=False)
def _add_outer(library: LoopsCalls, x: Array, delta: Array, dweight: Array) -> None:
    for i in range(x.size):
        for j in range(delta.size):
            dweight[i, j] = fma(x[i], delta[j], dweight[i, j])


offer(
    LoopsCalls,
    {
        by_example.multiply_transposed: _multiply_transposed,
        by_example.multiply: _multiply,
        by_example.add_outer: _add_outer,
        **by_example.UNITS,
    },
)


class Plan(by_example.ExamplePlan):
    """A plan whose ``threads`` share the examples; ``blas`` is not used."""

    def __init__(self, network: Network, capacity: int, threads: int, blas: Any) -> None:
        super().__init__(network, capacity, threads, calls(blas, network.dtype))
