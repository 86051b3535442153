"""The GEMM floor: only the products of a training step.

Shapes, order, BLAS and buffers are those of a step, so that every operand is in the same level
of cache as in a step.  As in a step, the products of the weight gradient are added to the
weights, which OpenBLAS does faster than storing them.
"""

from __future__ import annotations

import numpy as np

from hpcpgd.kernels.blas.blas_library import Routines, gemm
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.views import activations_of, deltas_of, weights_of
from hpcpgd.kernels.core.workspace import Workspace
from scripts.bench.setting import Setting

PRODUCT = (1.0, 0.0)
UPDATE = (-1e-30, 1.0)  # a rate that changes no weight


@compiled()
def _products(
    blas: Routines, table: Array, parameters: Array, activations: Array, deltas: Array, rows: int
) -> None:
    last = table.shape[0] - 1
    for l in range(1, last + 1):
        a = activations_of(table, activations, l - 1, 0, rows)
        z = activations_of(table, activations, l, 0, rows)
        gemm(blas, (False, False), PRODUCT, a, weights_of(table, parameters, l), z)
    for l in range(last, 1, -1):
        delta = deltas_of(table, deltas, l, 0, rows)
        back = deltas_of(table, deltas, l - 1, 0, rows)
        gemm(blas, (False, True), PRODUCT, delta, weights_of(table, parameters, l), back)
    for l in range(last, 0, -1):
        a = activations_of(table, activations, l - 1, 0, rows)
        delta = deltas_of(table, deltas, l, 0, rows)
        gemm(blas, (True, False), UPDATE, a, delta, weights_of(table, parameters, l))


class Floor:
    """The products of a step on this rank's part of the minibatch.

    Two ranks are two independent copies of half the batch: nothing is exchanged.

    Parameters
    ----------
    threads : int
        Must be 1.
    """

    def __init__(self, setting: Setting, threads: int) -> None:
        network = setting.network
        self._rows = setting.batch // setting.comm.size
        self._blas = setting.blas.routines(network.dtype)
        self._work = Workspace(network, self._rows, 1)
        self._parameters = setting.parameters()
        # Not zeros, which a processor might multiply faster, and no values that grow.
        random = np.random.default_rng(0)
        self._work.inputs[:] = random.random(self._work.inputs.shape)
        self._work.delta(network.depth)[:] = random.standard_normal((self._rows, 1))
        self.run(1)

    def run(self, steps: int) -> None:
        """Compute the products of ``steps`` steps."""
        work = self._work
        for _ in range(steps):
            _products(
                self._blas, work.table, self._parameters, work.activations, work.deltas,
                self._rows,
            )  # fmt: skip
