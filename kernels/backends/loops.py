"""Backend ``loops``: our own loops, one example at a time; no BLAS.

The paper's Naive Serial with one thread.  With several threads each sums the gradient of
its own examples into a vector of its own, and the vectors are then added: algorithm 5, the
paper's Multicore Parallel.

Letters: I fan_in, O fan_out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hpcpgd.kernels.backends.thread_team import ThreadTeam
from hpcpgd.kernels.core.activations import activate, multiply_by_slope, softmax
from hpcpgd.kernels.core.arithmetic import dot, fma
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import add, copy, score
from hpcpgd.kernels.core.network import FUNCTION, LOSS_CODES, SLOPE, SOFTMAX, Array, Network
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.core.views import activations_of, biases_of, deltas_of, weights_of
from hpcpgd.kernels.core.workspace import Workspace
from hpcpgd.kernels.schedule.units import Memory, Span, Target, add_scaled, offer, scratch_of


@compiled(inline=False)
def multiply_transposed(weights: Array, begin: int, x: Array, biases: Array, z: Array) -> None:
    """Compute ``z = Wᵀ x + b``, eq. (4), in the columns from ``begin`` on that ``z`` has.

    weights (I, O), x (I,), biases (O,), z (columns,).
    """
    end = begin + z.size
    copy(biases[begin:end], z)
    for i in range(x.size):
        some = weights[i][begin:end]  # contiguous, which a block of columns is not
        for j in range(z.size):
            z[j] = fma(some[j], x[i], z[j])


@compiled(inline=False)
def multiply(weights: Array, delta: Array, back: Array) -> None:
    """Compute ``W δ``, algorithm 4: weights (I, O), delta (O,), back (I,)."""
    for i in range(back.size):
        back[i] = dot(weights[i], delta)


@compiled(inline=False)
def add_outer(x: Array, delta: Array, dweight: Array) -> None:
    """Add ``a δᵀ``, algorithm 4, to dweight (I, O): x (I,), delta (O,)."""
    for i in range(x.size):
        for j in range(delta.size):
            dweight[i, j] = fma(x[i], delta[j], dweight[i, j])


@compiled()
def _forward(table: Array, parameters: Array, activations: Array, row: int) -> None:
    """Algorithm 3 for the example in ``row``."""
    for l in range(1, table.shape[0]):
        x = activations_of(table, activations, l - 1, row, row + 1)[0]
        z = activations_of(table, activations, l, row, row + 1)[0]
        biases = biases_of(table, parameters, l)
        multiply_transposed(weights_of(table, parameters, l), 0, x, biases, z)
        if table[l, FUNCTION] == SOFTMAX:
            softmax(z)
        else:
            activate(table[l, FUNCTION], z)


@compiled()
def _backward(
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
        add_outer(x, delta, weights_of(table, out, l))
        if l > 1:
            back = deltas_of(table, deltas, l - 1, row, row + 1)[0]
            multiply(weights_of(table, parameters, l), delta, back)
            multiply_by_slope(table[l - 1, SLOPE], x, back)
            delta = back


@compiled()
def _evaluate(
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
        _forward(table, parameters, activations, row)
        a = activations_of(table, activations, last, row, row + 1)
        here = slice(row, row + 1)
        score(loss, table[last, FUNCTION], a, labels[here], predicted[here], totals)


@compiled()
def _gradient(
    table: Array,
    loss: int,
    parameters: Array,
    activations: Array,
    labels: Array,
    predicted: Array,
    totals: Array,
    deltas: Array,
    start: int,
    stop: int,
    out: Array,
) -> None:
    for row in range(start, stop):
        _evaluate(table, loss, parameters, activations, labels, predicted, totals, row, row + 1)
        _backward(table, parameters, activations, labels[row], deltas, row, out)


class LoopsCalls(NamedTuple):
    """What the units of this backend call: nothing."""

    none: int


def calls(blas: Any, dtype: str) -> LoopsCalls:
    """Return what the units call; ``blas`` is not used."""
    return LoopsCalls(0)


@compiled()
def _forward_unit(
    library: LoopsCalls, table: Array, memory: Memory, layer: int, rows: Span, columns: Span
) -> None:
    begin, end = columns
    weights = weights_of(table, memory.parameters, layer)  # (I, O)
    biases = biases_of(table, memory.parameters, layer)
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])
    outputs = activations_of(table, memory.activations, layer, rows[0], rows[1])
    for row in range(a.shape[0]):
        x, z = a[row], outputs[row][begin:end]
        multiply_transposed(weights, begin, x, biases, z)
        if table[layer, FUNCTION] == SOFTMAX:
            softmax(z)
        else:
            activate(table[layer, FUNCTION], z)


@compiled()
def _back_unit(
    library: LoopsCalls, table: Array, memory: Memory, layer: int, rows: Span, columns: Span
) -> None:
    begin, end = columns
    weights = weights_of(table, memory.parameters, layer)  # (I, O)
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])
    backs = deltas_of(table, memory.deltas, layer - 1, rows[0], rows[1])
    for row in range(a.shape[0]):
        back = backs[row][begin:end]
        multiply(weights[begin:end], delta[row], back)
        multiply_by_slope(table[layer - 1, SLOPE], a[row][begin:end], back)


@compiled()
def _gradient_unit(
    library: LoopsCalls,
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
        add_outer(a[row][fan_in[0] : fan_in[1]], delta[row][columns[0] : columns[1]], sums)
    add_scaled(target, sums)


offer(LoopsCalls, _forward_unit, _back_unit, _gradient_unit)


class Plan:
    """Forward and backward propagation of up to ``capacity`` rows.

    Parameters
    ----------
    network : Network
    capacity : int
        Rows that the buffers hold.
    threads : int
        Threads that share the examples.
    blas : object
        Not used: this backend calls no BLAS.
    """

    def __init__(self, network: Network, capacity: int, threads: int, blas: Any) -> None:
        self.network = network
        self.work = Workspace(network, capacity, threads)
        self._team = ThreadTeam(threads)
        self._loss = LOSS_CODES[network.loss]
        self._partial = [network.zeros() for _ in range(threads - 1)]

    def gradient(self, parameters: Array, count: int, out: Array, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and their scores."""
        sums = [out, *self._partial]

        def examples(thread: int) -> None:
            if thread > 0 or not add:
                sums[thread][:] = 0
            rows = block_range(count, self._team.size, thread)
            work, totals = self.work, self.work.totals[thread]
            _gradient(
                work.table,
                self._loss,
                parameters,
                work.activations,
                work.labels,
                work.predicted,
                totals,
                work.deltas,
                *rows,
                sums[thread],
            )

        self._team.run(examples)
        self._team.run(self._join(sums))

    def evaluate(self, parameters: Array, count: int) -> None:
        """Predict the first ``count`` rows and add up loss and correct answers."""

        def examples(thread: int) -> None:
            rows = block_range(count, self._team.size, thread)
            work, totals = self.work, self.work.totals[thread]
            _evaluate(
                work.table,
                self._loss,
                parameters,
                work.activations,
                work.labels,
                work.predicted,
                totals,
                *rows,
            )

        self._team.run(examples)

    def close(self) -> None:
        """End the threads."""
        self._team.close()

    def _join(self, sums: list[Array]) -> Any:
        """Return the work of one thread: add its block of all partial gradients."""

        def block(thread: int) -> None:
            start, stop = block_range(sums[0].size, self._team.size, thread)
            for partial in sums[1:]:
                add(sums[0][start:stop], partial[start:stop])

        return block
