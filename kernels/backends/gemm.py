"""Backend ``gemm``: BLAS level 3 on whole units, fused loops for the rest.

Each product of a layer is cut into units, one single-threaded GEMM each, that threads of a
rank or several ranks compute side by side (see ``schedule``).

Letters: B rows, I fan_in, O fan_out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hpcpgd.kernels.blas.blas_library import Routines, gemm
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import add_bias_and_activate, hidden_delta
from hpcpgd.kernels.core.network import FUNCTION, SLOPE, Array
from hpcpgd.kernels.core.views import activations_of, biases_of, deltas_of, weights_of
from hpcpgd.kernels.schedule.units import Memory, Span, Target, back, forward, gradient, offer

THIN = 64  # columns of deltas up to which rows are propagated back panel by panel
PANEL = 64  # rows


class GemmCalls(NamedTuple):
    """What the units of this backend call."""

    blas: Routines


def calls(blas: Any, dtype: str) -> GemmCalls:
    """Return what the units call: ``blas`` must compute with one thread."""
    return GemmCalls(blas.routines(dtype))


@compiled()
def _forward(
    library: GemmCalls, table: Array, memory: Memory, layer: int, rows: Span, columns: Span
) -> None:
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])  # (B, I)
    z = activations_of(table, memory.activations, layer, rows[0], rows[1])  # (B, O)
    weights = weights_of(table, memory.parameters, layer)  # (I, O)
    begin, end = columns
    gemm(library.blas, (False, False), (1.0, 0.0), a, weights[:, begin:end], z[:, begin:end])
    biases = biases_of(table, memory.parameters, layer)
    add_bias_and_activate(table[layer, FUNCTION], biases, z, begin, end)


@compiled()
def _back(
    library: GemmCalls, table: Array, memory: Memory, layer: int, rows: Span, columns: Span
) -> None:
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])  # (B, O)
    back = deltas_of(table, memory.deltas, layer - 1, rows[0], rows[1])  # (B, I)
    weights = weights_of(table, memory.parameters, layer)  # (I, O)
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])
    begin, end = columns
    # A thin product moves more than it computes: what it wrote is still in the cache.
    step = PANEL if delta.shape[1] <= THIN else max(delta.shape[0], 1)
    for top in range(0, delta.shape[0], step):
        some, part = delta[top : top + step], back[top : top + step]
        gemm(library.blas, (False, True), (1.0, 0.0), some, weights[begin:end], part[:, begin:end])
        hidden_delta(table[layer - 1, SLOPE], a[top : top + step], part, begin, end)


@compiled()
def _gradient(library: GemmCalls, table: Array, memory: Memory, layer: int, target: Target) -> None:
    rows, fan_in, columns = target.rows, target.fan_in, target.columns
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])  # (B, I)
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])  # (B, O)
    some, block = a[:, fan_in[0] : fan_in[1]], delta[:, columns[0] : columns[1]]
    gemm(library.blas, (True, False), (target.alpha, target.beta), some, block, target.dweight)


offer(GemmCalls, {forward: _forward, back: _back, gradient: _gradient})
