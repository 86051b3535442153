"""One example at a time: what backends ``loops`` and ``gemv`` have in common.

For the type of its library, a backend offers its versions of ``multiply_transposed``,
``multiply`` and ``add_outer``, and the ``UNITS`` of this file (``schedule.units.offer``).

Letters: I fan_in, O fan_out; ``rows`` and ``columns`` are (start, stop).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcpgd.kernels.backends.thread_team import ThreadTeam
from hpcpgd.kernels.core.activations import activate, multiply_by_slope, softmax
from hpcpgd.kernels.core.compiled import Kernel, compiled
from hpcpgd.kernels.core.elementwise import add, output_delta, score
from hpcpgd.kernels.core.network import FUNCTION, SLOPE, SOFTMAX, Array, Network
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.core.views import activations_of, biases_of, deltas_of, kept_of, weights_of
from hpcpgd.kernels.core.workspace import Buffers, Workspace
from hpcpgd.kernels.schedule import units
from hpcpgd.kernels.schedule.units import Memory, Span, Target, add_scaled, scratch_of


def multiply_transposed(
    library: Any, weights: Array, begin: int, x: Array, biases: Array, z: Array
) -> None:
    """Compute ``z = Wᵀ x + b``, eq. (4), for ``z.size`` columns from ``begin`` on.

    weights (I, O), x (I,), biases (O,), z (columns,).
    """


def multiply(library: Any, weights: Array, delta: Array, back: Array) -> None:
    """Compute ``W δ``, algorithm 4: weights (I, O), delta (O,), back (I,)."""


def add_outer(library: Any, x: Array, delta: Array, dweight: Array) -> None:
    """Add ``a δᵀ``, algorithm 4, to dweight (I, O): x (I,), delta (O,)."""


@compiled()
def _forward_layer(
    library: Any,
    table: Array,
    parameters: Array,
    layer: int,
    begin: int,
    x: Array,
    z: Array,
    kept: Array,
) -> None:
    """Algorithm 3, one layer: activations ``z``, from column ``begin`` on, for input ``x``."""
    weights, biases = weights_of(table, parameters, layer), biases_of(table, parameters, layer)
    multiply_transposed(library, weights, begin, x, biases, z)
    if table[layer, FUNCTION] == SOFTMAX:
        softmax(z)
    else:
        activate(table[layer, FUNCTION], z, kept)


@compiled()
def _forward(library: Any, work: Buffers, parameters: Array, row: int) -> None:
    """Algorithm 3 for the example in ``row``."""
    table = work.table
    for l in range(1, table.shape[0]):
        x = activations_of(table, work.activations, l - 1, row, row + 1)[0]
        z = activations_of(table, work.activations, l, row, row + 1)[0]
        kept = kept_of(table, work.activations, l, row, row + 1)[0]
        _forward_layer(library, table, parameters, l, 0, x, z, kept)


@compiled()
def _backward(library: Any, work: Buffers, parameters: Array, row: int, out: Array) -> None:
    """Algorithm 4 for the example in ``row``: add its gradient to ``out``."""
    table, last = work.table, work.table.shape[0] - 1
    a = activations_of(table, work.activations, last, row, row + 1)
    deltas = deltas_of(table, work.deltas, last, row, row + 1)
    output_delta(table[last, SLOPE], a, work.labels[row : row + 1], deltas)
    delta = deltas[0]
    for l in range(last, 0, -1):
        x = activations_of(table, work.activations, l - 1, row, row + 1)[0]
        add(biases_of(table, out, l), delta)
        add_outer(library, x, delta, weights_of(table, out, l))
        if l > 1:
            back = deltas_of(table, work.deltas, l - 1, row, row + 1)[0]
            multiply(library, weights_of(table, parameters, l), delta, back)
            kept = kept_of(table, work.activations, l - 1, row, row + 1)[0]
            multiply_by_slope(table[l - 1, SLOPE], kept, back)
            delta = back


@compiled()
def _propagate(
    library: Any, work: Buffers, parameters: Array, rows: Span, thread: int, learn: bool, out: Array
) -> None:  # one function with a switch, so that it is compiled once
    """Predict ``rows`` and add up their scores; with ``learn`` add their gradient to ``out``."""
    table, last = work.table, work.table.shape[0] - 1
    for row in range(rows[0], rows[1]):
        _forward(library, work, parameters, row)
        a, this = activations_of(table, work.activations, last, row, row + 1), slice(row, row + 1)
        scores = work.totals[thread]
        score(work.loss, table[last, FUNCTION], a, work.labels[this], work.predicted[this], scores)
        if learn:
            _backward(library, work, parameters, row, out)


@compiled()
def _forward_unit(
    library: Any, table: Array, memory: Memory, layer: int, rows: Span, columns: Span, thread: int
) -> None:
    begin, end = columns
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])
    outputs = activations_of(table, memory.activations, layer, rows[0], rows[1])
    kept = kept_of(table, memory.activations, layer, rows[0], rows[1])
    for row in range(a.shape[0]):
        z, keep = outputs[row][begin:end], kept[row][begin:end]
        _forward_layer(library, table, memory.parameters, layer, begin, a[row], z, keep)


@compiled()
def _back_unit(
    library: Any, table: Array, memory: Memory, layer: int, rows: Span, columns: Span, thread: int
) -> None:
    begin, end = columns
    weights = weights_of(table, memory.parameters, layer)[begin:end]  # (I, O)
    kept = kept_of(table, memory.activations, layer - 1, rows[0], rows[1])
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])
    backs = deltas_of(table, memory.deltas, layer - 1, rows[0], rows[1])
    for row in range(kept.shape[0]):
        back = backs[row][begin:end]
        multiply(library, weights, delta[row], back)
        multiply_by_slope(table[layer - 1, SLOPE], kept[row][begin:end], back)


@compiled()
def _gradient_unit(
    library: Any, table: Array, memory: Memory, layer: int, target: Target, thread: int
) -> None:
    rows, fan_in, columns = target.rows, target.fan_in, target.columns
    a = activations_of(table, memory.activations, layer - 1, rows[0], rows[1])
    delta = deltas_of(table, memory.deltas, layer, rows[0], rows[1])
    sums = scratch_of(memory.scratch[thread], target)
    for row in range(a.shape[0]):
        x, d = a[row][fan_in[0] : fan_in[1]], delta[row][columns[0] : columns[1]]
        add_outer(library, x, d, sums)
    add_scaled(target, sums)


UNITS: dict[Callable[..., None], Kernel] = {
    units.forward: _forward_unit,
    units.back: _back_unit,
    units.gradient: _gradient_unit,
}


class ExamplePlan:
    """Forward and backward propagation of up to ``capacity`` rows, for both backends.

    Parameters
    ----------
    capacity : int
        Rows that the buffers hold.
    threads : int
        Threads that share the examples.
    library : NamedTuple
        Its type decides which backend's products are called.
    """

    def __init__(self, network: Network, capacity: int, threads: int, library: Any) -> None:
        self.network = network
        self.work = Workspace(network, capacity, threads)
        self._buffers = self.work.buffers
        self._library = library
        self._team = ThreadTeam(threads)
        self._partial = [network.zeros() for _ in range(threads - 1)]

    def gradient(self, parameters: Array, count: int, out: Array, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and add their scores."""
        sums = [out, *self._partial]

        def examples(thread: int) -> None:
            if thread > 0 or not add:
                sums[thread][:] = 0
            rows = block_range(count, self._team.size, thread)
            self._propagate(parameters, rows, thread, sums[thread])

        self._team.run(examples)
        self._team.run(self._join(sums))

    def evaluate(self, parameters: Array, count: int) -> None:
        """Predict the first ``count`` rows and add their loss and correct answers to the totals."""

        def examples(thread: int) -> None:
            rows = block_range(count, self._team.size, thread)
            self._propagate(parameters, rows, thread)

        self._team.run(examples)

    def close(self) -> None:
        """End the threads."""
        self._team.close()

    def _propagate(
        self, parameters: Array, rows: Span, thread: int, out: Array | None = None
    ) -> None:
        """Predict ``rows`` and add up their scores; add their gradient to ``out`` if given."""
        target = parameters if out is None else out  # without ``learn`` it is not written
        learn = out is not None
        _propagate(self._library, self._buffers, parameters, rows, thread, learn, target)

    def _join(self, sums: list[Array]) -> Any:
        """Return the function of one thread: it adds a block of all partial gradients."""

        def block(thread: int) -> None:
            start, stop = block_range(sums[0].size, self._team.size, thread)
            for partial in sums[1:]:
                add(sums[0][start:stop], partial[start:stop])

        return block
