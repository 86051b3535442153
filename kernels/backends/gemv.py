"""Backend ``gemv``: BLAS level 2, one example at a time; no GEMM.

The paper's Fast Serial, and with several threads, which the BLAS puts to work inside each
product, its Fast Parallel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hpcpgd.kernels.blas.blas_library import Routines, gemv, ger
from hpcpgd.kernels.core.activations import activate, multiply_by_slope, softmax
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import add, copy, score
from hpcpgd.kernels.core.network import FUNCTION, LOSS_CODES, SLOPE, SOFTMAX, Array, Network
from hpcpgd.kernels.core.views import activations_of, biases_of, deltas_of, weights_of
from hpcpgd.kernels.core.workspace import Workspace
from hpcpgd.kernels.schedule.units import Memory, Span, Target, add_scaled, offer, scratch_of


@compiled()
def _forward(blas: Routines, table: Array, parameters: Array, activations: Array, row: int) -> None:
    """Algorithm 3 for the example in ``row``."""
    for l in range(1, table.shape[0]):
        x = activations_of(table, activations, l - 1, row, row + 1)[0]
        z = activations_of(table, activations, l, row, row + 1)[0]
        copy(biases_of(table, parameters, l), z)
        gemv(blas, True, weights_of(table, parameters, l), x, 1.0, z)
        if table[l, FUNCTION] == SOFTMAX:
            softmax(z)
        else:
            activate(table[l, FUNCTION], z)


@compiled()
def _backward(
    blas: Routines,
    table: Array,
    parameters: Array,
    activations: Array,
    label: int,
    deltas: Array,
    row: int,
    out: Array,
) -> None:
    """Algorithm 4 for the example in ``row``: add its gradient to ``out``."""
    last = table.shape[0] - 1
    a = activations_of(table, activations, last, row, row + 1)[0]
    delta = deltas_of(table, deltas, last, row, row + 1)[0]
    copy(a, delta)
    delta[label] -= a.dtype.type(1)
    multiply_by_slope(table[last, SLOPE], a, delta)
    for l in range(last, 0, -1):
        x = activations_of(table, activations, l - 1, row, row + 1)[0]
        add(biases_of(table, out, l), delta)
        ger(blas, x, delta, weights_of(table, out, l))
        if l > 1:
            back = deltas_of(table, deltas, l - 1, row, row + 1)[0]
            gemv(blas, False, weights_of(table, parameters, l), delta, 0.0, back)
            multiply_by_slope(table[l - 1, SLOPE], x, back)
            delta = back


@compiled()
def _evaluate(
    blas: Routines,
    table: Array,
    loss: int,
    parameters: Array,
    activations: Array,
    labels: Array,
    predicted: Array,
    totals: Array,
    start: int,
    stop: int,
) -> None:
    last = table.shape[0] - 1
    for row in range(start, stop):
        _forward(blas, table, parameters, activations, row)
        a = activations_of(table, activations, last, row, row + 1)
        here = slice(row, row + 1)
        score(loss, table[last, FUNCTION], a, labels[here], predicted[here], totals)


@compiled()
def _gradient(
    blas: Routines,
    table: Array,
    loss: int,
    parameters: Array,
    activations: Array,
    labels: Array,
    predicted: Array,
    totals: Array,
    deltas: Array,
    count: int,
    out: Array,
) -> None:
    for row in range(count):
        _evaluate(
            blas, table, loss, parameters, activations, labels, predicted, totals, row, row + 1
        )
        _backward(blas, table, parameters, activations, labels[row], deltas, row, out)


class GemvCalls(NamedTuple):
    """What the units of this backend call; the BLAS must compute with one thread."""

    blas: Routines


def calls(blas: Any, dtype: str) -> GemvCalls:
    """Return what the units call."""
    return GemvCalls(blas.routines(dtype))


@compiled()
def _forward_unit(
    library: GemvCalls, table: Array, memory: Memory, layer: int, rows: Span, columns: Span
) -> None:
    begin, end = columns
    weights = weights_of(table, memory.parameters, layer)[:, begin:end]  # (I, O)
    biases = biases_of(table, memory.parameters, layer)[begin:end]
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])
    outputs = activations_of(table, memory.activations, layer, rows[0], rows[1])
    for row in range(a.shape[0]):
        z = outputs[row][begin:end]
        copy(biases, z)
        gemv(library.blas, True, weights, a[row], 1.0, z)
        if table[layer, FUNCTION] == SOFTMAX:
            softmax(z)
        else:
            activate(table[layer, FUNCTION], z)


@compiled()
def _back_unit(
    library: GemvCalls, table: Array, memory: Memory, layer: int, rows: Span, columns: Span
) -> None:
    begin, end = columns
    weights = weights_of(table, memory.parameters, layer)[begin:end]  # (I, O)
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])
    backs = deltas_of(table, memory.deltas, layer - 1, rows[0], rows[1])
    for row in range(a.shape[0]):
        back = backs[row][begin:end]
        gemv(library.blas, False, weights, delta[row], 0.0, back)
        multiply_by_slope(table[layer - 1, SLOPE], a[row][begin:end], back)


@compiled()
def _gradient_unit(
    library: GemvCalls,
    table: Array,
    memory: Memory,
    layer: int,
    rows: Span,
    fan_in: Span,
    columns: Span,
    target: Target,
) -> None:
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])
    sums = scratch_of(target)
    for row in range(a.shape[0]):
        x, d = a[row][fan_in[0] : fan_in[1]], delta[row][columns[0] : columns[1]]
        ger(library.blas, x, d, sums)
    add_scaled(target, sums)


offer(GemvCalls, _forward_unit, _back_unit, _gradient_unit)


class Plan:
    """Forward and backward propagation of up to ``capacity`` rows.

    Parameters
    ----------
    network : Network
    capacity : int
        Rows that the buffers hold.
    threads : int
        Threads inside each product; the caller sets the BLAS to them.
    blas : Blas
    """

    def __init__(self, network: Network, capacity: int, threads: int, blas: Any) -> None:
        self.network = network
        self.work = Workspace(network, capacity, 1)
        self._library = blas  # kept, so that the addresses stay valid
        self._blas = blas.routines(network.dtype)
        self._loss = LOSS_CODES[network.loss]

    def gradient(self, parameters: Array, count: int, out: Array, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and their scores."""
        if not add:
            out[:] = 0
        work = self.work
        _gradient(
            self._blas,
            work.table,
            self._loss,
            parameters,
            work.activations,
            work.labels,
            work.predicted,
            work.totals[0],
            work.deltas,
            count,
            out,
        )

    def evaluate(self, parameters: Array, count: int) -> None:
        """Predict the first ``count`` rows and add up loss and correct answers."""
        work = self.work
        _evaluate(
            self._blas,
            work.table,
            self._loss,
            parameters,
            work.activations,
            work.labels,
            work.predicted,
            work.totals[0],
            0,
            count,
        )

    def close(self) -> None:
        """No thread is this plan's own."""
