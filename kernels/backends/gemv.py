"""Backend ``gemv``: BLAS level 2, one example at a time; no GEMM.

With one thread this is the paper's Fast Serial.  With several, which the BLAS uses inside each
product, it is the paper's Fast Parallel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hpcpgd.kernels.backends import by_example
from hpcpgd.kernels.blas.blas_library import Routines, gemv, ger
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import copy
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.schedule.units import offer


class GemvCalls(NamedTuple):
    """The library that this backend calls; units need a BLAS that computes with one thread."""

    blas: Routines


def calls(blas: Any, dtype: str) -> GemvCalls:
    """Return the library that the products call."""
    return GemvCalls(blas.routines(dtype))


@compiled()
def _multiply_transposed(
    library: GemvCalls, weights: Array, begin: int, x: Array, biases: Array, z: Array
) -> None:
    end = begin + z.size
    copy(biases[begin:end], z)
    gemv(library.blas, True, weights[:, begin:end], x, 1.0, z)


@compiled()
def _multiply(library: GemvCalls, weights: Array, delta: Array, back: Array) -> None:
    gemv(library.blas, False, weights, delta, 0.0, back)


@compiled()
def _add_outer(library: GemvCalls, x: Array, delta: Array, dweight: Array) -> None:
    ger(library.blas, x, delta, dweight)


offer(
    GemvCalls,
    {
        by_example.multiply_transposed: _multiply_transposed,
        by_example.multiply: _multiply,
        by_example.add_outer: _add_outer,
        **by_example.UNITS,
    },
)


class Plan(by_example.ExamplePlan):
    """A plan with ``threads`` inside each product, which the caller sets in the BLAS."""

    def __init__(self, network: Network, capacity: int, threads: int, blas: Any) -> None:
        super().__init__(network, capacity, 1, calls(blas, network.dtype))
        self._blas = blas  # keeps the library open, so that its addresses stay valid
