"""Backend ``gemm``: BLAS level 3 on the whole slice, fused loops for the rest.

With several threads each takes its own rows through ``forward`` and ``deltas``, then its
own columns of every weight gradient, over all rows: each product is divided, and every
part is one single-threaded BLAS call.

Letters: B rows, I fan_in, O fan_out.
"""

from __future__ import annotations

from typing import Any

from hpcpgd.kernels.blas import Routines, gemm
from hpcpgd.kernels.compiled import compiled
from hpcpgd.kernels.elementwise import (
    add_bias_and_activate,
    bias_gradient,
    hidden_delta,
    output_delta,
    score,
)
from hpcpgd.kernels.network import FUNCTION, LOSS_CODES, SLOPE, Array, Network
from hpcpgd.kernels.partition import block_range
from hpcpgd.kernels.team import Team
from hpcpgd.kernels.views import activations_of, biases_of, deltas_of, weights_of
from hpcpgd.kernels.workspace import Workspace


@compiled()
def _forward(
    blas: Routines, table: Array, parameters: Array, activations: Array, start: int, stop: int
) -> None:
    for l in range(1, table.shape[0]):
        a = activations_of(table, activations, l - 1, start, stop)  # (B, I)
        z = activations_of(table, activations, l, start, stop)  # (B, O)
        gemm(blas, (False, False), a, weights_of(table, parameters, l), 0.0, z)
        add_bias_and_activate(table[l, FUNCTION], biases_of(table, parameters, l), z)


@compiled()
def _deltas(
    blas: Routines,
    table: Array,
    parameters: Array,
    activations: Array,
    labels: Array,
    deltas: Array,
    start: int,
    stop: int,
) -> None:
    last = table.shape[0] - 1
    a = activations_of(table, activations, last, start, stop)
    delta = deltas_of(table, deltas, last, start, stop)  # (B, O)
    output_delta(table[last, SLOPE], a, labels[start:stop], delta)
    for l in range(last, 1, -1):
        back = deltas_of(table, deltas, l - 1, start, stop)  # (B, I)
        gemm(blas, (False, True), delta, weights_of(table, parameters, l), 0.0, back)
        a = activations_of(table, activations, l - 1, start, stop)
        hidden_delta(table[l - 1, SLOPE], a, back)
        delta = back


@compiled()
def _weight_gradient(
    blas: Routines,
    table: Array,
    activations: Array,
    deltas: Array,
    layer: int,
    block: tuple[int, int],
    rows: tuple[int, int],
    out: Array,
    beta: float,
) -> None:
    a = activations_of(table, activations, layer - 1, rows[0], rows[1])  # (B, I)
    delta = deltas_of(table, deltas, layer, rows[0], rows[1])[:, block[0] : block[1]]  # (B, O)
    dweight = weights_of(table, out, layer)[:, block[0] : block[1]]  # (I, O)
    gemm(blas, (True, False), a, delta, beta, dweight)
    bias_gradient(delta, beta, biases_of(table, out, layer)[block[0] : block[1]])


@compiled()
def _score(
    table: Array,
    loss: int,
    activations: Array,
    labels: Array,
    predicted: Array,
    totals: Array,
    start: int,
    stop: int,
) -> None:
    last = table.shape[0] - 1
    a = activations_of(table, activations, last, start, stop)
    here = slice(start, stop)
    score(loss, table[last, FUNCTION], a, labels[here], predicted[here], totals)


class Plan:
    """Forward and backward propagation of up to ``capacity`` rows.

    Parameters
    ----------
    network : Network
    capacity : int
        Rows that the buffers hold.
    threads : int
        Threads that divide every product.
    blas : Blas or MatmulStandIn
        Must compute with one thread.
    """

    def __init__(self, network: Network, capacity: int, threads: int, blas: Any) -> None:
        self.network = network
        self.work = Workspace(network, capacity, threads)
        self._team = Team(threads)
        self._library = blas  # kept, so that the addresses stay valid
        self._blas = blas.routines(network.dtype)
        self._loss = LOSS_CODES[network.loss]

    def forward(self, parameters: Array, rows: tuple[int, int]) -> None:
        """Algorithm 3: activations of every layer for ``rows`` (start, stop)."""
        _forward(self._blas, self.work.table, parameters, self.work.activations, *rows)

    def deltas(self, parameters: Array, rows: tuple[int, int]) -> None:
        """Algorithm 4: deltas of every layer but the input, from the weights as they are."""
        work = self.work
        _deltas(
            self._blas, work.table, parameters, work.activations, work.labels, work.deltas, *rows
        )

    def weight_gradient(
        self, layer: int, block: tuple[int, int], rows: tuple[int, int], out: Array, add: bool
    ) -> None:
        """Algorithm 4: sums over ``rows`` of ∂W and ∂b in the columns of ``block``."""
        work, beta = self.work, 1.0 if add else 0.0
        _weight_gradient(
            self._blas, work.table, work.activations, work.deltas, layer, block, rows, out, beta
        )

    def gradient(self, parameters: Array, count: int, out: Array, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and their scores."""

        def propagate(thread: int) -> None:
            rows = block_range(count, self._team.size, thread)
            self._evaluate(parameters, rows, thread)
            self.deltas(parameters, rows)

        def differentiate(thread: int) -> None:
            for l in range(self.network.depth, 0, -1):
                block = block_range(self.network.widths[l], self._team.size, thread)
                self.weight_gradient(l, block, (0, count), out, add)

        self._team.run(propagate)
        self._team.run(differentiate)

    def evaluate(self, parameters: Array, count: int) -> None:
        """Predict the first ``count`` rows and add up loss and correct answers."""
        size = self._team.size
        self._team.run(lambda t: self._evaluate(parameters, block_range(count, size, t), t))

    def _evaluate(self, parameters: Array, rows: tuple[int, int], thread: int) -> None:
        self.forward(parameters, rows)
        work = self.work
        totals = work.totals[thread]
        _score(work.table, self._loss, work.activations, work.labels, work.predicted, totals, *rows)
