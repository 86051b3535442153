"""Backend ``gemm``: BLAS level 3 for products, fused loops for the rest.

Each product of a layer is cut into units, each a single-threaded GEMM.  The threads of a rank
or of several ranks compute them in parallel (see ``schedule``).

Letters: B rows, I fan_in, O fan_out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hpcpgd.kernels.blas.blas_library import Routines, gemm
from hpcpgd.kernels.blas.small_batch import AVAILABLE, is_small, multiply
from hpcpgd.kernels.core.compiled import Kernel, compiled
from hpcpgd.kernels.core.elementwise import (
    ACTIVATION,
    DERIVATIVE,
    NOTHING,
    Completion,
    complete,
)
from hpcpgd.kernels.core.network import FUNCTION, SLOPE, Array
from hpcpgd.kernels.core.views import activations_of, biases_of, deltas_of, kept_of, weights_of
from hpcpgd.kernels.schedule.units import Memory, Span, Target, back, forward, gradient, offer

THIN = 64  # fan_out up to which deltas are propagated back in panels of rows
PANEL = 64


class GemmCalls(NamedTuple):
    """The library that the units of this backend call."""

    blas: Routines
    panel: int  # rows of a panel


def calls(blas: Any, dtype: str) -> GemmCalls:
    """Return the library that units call; ``blas`` must compute with one thread."""
    return GemmCalls(blas.routines(dtype), PANEL)


def product(
    library: Any, who: Any, how: Any, task: Completion, a: Array, b: Array, c: Array
) -> None:
    """Compute ``c = alpha op(a) op(b) + beta c``, as ``blas_library.gemm`` does; complete it.

    ``who`` are the number of the thread, and whether ``a`` has input rows.  ``how`` says for a
    and for b whether ``op`` transposes, and gives alpha and beta.
    """


@compiled()
def _forward(
    library: Any, table: Array, memory: Memory, layer: int, rows: Span, columns: Span, thread: int
) -> None:
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])  # (B, I)
    z = activations_of(table, memory.activations, layer, rows[0], rows[1])  # (B, O)
    weights = weights_of(table, memory.parameters, layer)  # (I, O)
    begin, end = columns
    biases = biases_of(table, memory.parameters, layer)
    kept = kept_of(table, memory.activations, layer, rows[0], rows[1])
    task = Completion(ACTIVATION, table[layer, FUNCTION], biases, z, kept, begin)
    who, how = (thread, layer == 1), ((False, False), (1.0, 0.0))
    product(library, who, how, task, a, weights[:, begin:end], z[:, begin:end])


@compiled()
def _back(
    library: Any, table: Array, memory: Memory, layer: int, rows: Span, columns: Span, thread: int
) -> None:
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])  # (B, O)
    back = deltas_of(table, memory.deltas, layer - 1, rows[0], rows[1])  # (B, I)
    weights = weights_of(table, memory.parameters, layer)  # (I, O)
    kept = kept_of(table, memory.activations, layer - 1, rows[0], rows[1])
    biases = biases_of(table, memory.parameters, layer)  # no part of it: its type must be given
    begin, end = columns
    # A thin product takes mostly memory traffic: a panel is still in the cache for the slope.
    step = library.panel if delta.shape[1] <= THIN else max(delta.shape[0], 1)
    for top in range(0, delta.shape[0], step):
        above, below = delta[top : top + step], back[top : top + step]
        code = table[layer - 1, SLOPE]
        task = Completion(DERIVATIVE, code, biases, below, kept[top : top + step], begin)
        who, how = (thread, False), ((False, True), (1.0, 0.0))
        product(library, who, how, task, above, weights[begin:end], below[:, begin:end])


@compiled()
def _gradient(
    library: Any, table: Array, memory: Memory, layer: int, target: Target, thread: int
) -> None:
    rows, fan_in, columns = target.rows, target.fan_in, target.columns
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])  # (B, I)
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])  # (B, O)
    inputs, deltas = a[:, fan_in[0] : fan_in[1]], delta[:, columns[0] : columns[1]]
    who, how = (thread, layer == 1), ((True, False), (target.alpha, target.beta))
    biases = biases_of(table, memory.parameters, layer)  # as in ``_back``
    task = Completion(NOTHING, 0, biases, a, a, 0)
    product(library, who, how, task, inputs, deltas, target.dweight)


@compiled()
def _product(
    library: GemmCalls, who: Any, how: Any, task: Completion, a: Array, b: Array, c: Array
) -> None:
    if AVAILABLE and is_small(how[0], a, c):
        multiply(library.blas, how[0], how[1], a, b, c)
    else:
        gemm(library.blas, how[0], how[1], a, b, c)
    complete(task, (0, c.shape[0]), (0, c.shape[1]))


UNITS: dict[Callable[..., None], Kernel] = {forward: _forward, back: _back, gradient: _gradient}
offer(GemmCalls, {product: _product, **UNITS})
