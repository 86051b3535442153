"""Reduction ``overlap`` on a GPU: a layer's gradient is summed while the next is computed.

The last chunk of a slice is a graph for each layer.  All are launched at once; the host
then follows the marks between them, starts the Iallreduce of each layer that is there,
output layer first, and lets MPI go on while it waits for the next mark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hpcpgd.engines.base import Rows
from hpcpgd.engines.device_engine import Chunk, DeviceEngine
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_clock import COMPUTE
from hpcpgd.reductions.exposure import Exposure

if TYPE_CHECKING:
    from hpcpgd.parallel.mpi import MPI


class DeviceOverlapEngine(DeviceEngine):
    """An engine on a GPU that sums the gradient over the ranks while it computes it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.exposure = Exposure()
        self._layers = range(self.network.depth, 0, -1)
        self._marks: list[Any] = []

    def prepare(self, comm: MPI.Comm) -> None:
        """Time the sum with nothing beside it; collective."""
        self._device.synchronize()
        whole = self._exposed((0, self.network.size))
        self.exposure.rehearse(comm, lambda: mpi.allreduce_sum(comm, whole))
        # In the device's own stream, and before anything else is put there.
        if self._staging is not None:
            self._staging[:] = 0
        self._device.clear(self._gradient)

    def partial_and_sum(self, comm: MPI.Comm, epoch: int, rows: Rows) -> None:
        """Replace the gradient by its sum over this step's rows of all ranks; collective."""
        self._marks.clear()
        self.partial(epoch, rows)
        if not self._marks:  # an empty slice: all its layers are there at once
            self._marks += [self._device.mark()] * len(self._layers)
        requests: list[Any] = []
        for layer, mark in zip(self._layers, self._marks, strict=True):
            while not self._device.reached(mark):
                mpi.progress(requests)
            self._clock.lap(COMPUTE)
            requests.append(mpi.iallreduce_sum(comm, self._exposed(self.network.span(layer))))
        mpi.wait_all(requests)
        self._agree_to_stop(comm)
        self.exposure.add(self._clock.lap_reduction())
        self.exposure.reductions += 1
        self._clock.end_reduction()

    def _launch(self, chunk: Chunk) -> None:
        if not chunk.move.ends:
            super()._launch(chunk)
            return
        for graph in self._gradient_graphs(chunk):
            graph()
            self._marks.append(self._device.mark())

    def _gradient_graphs(self, chunk: Chunk) -> list[Callable[[], None]]:
        if not chunk.move.ends:
            return super()._gradient_graphs(chunk)
        return [self._layer_graph(chunk, layer) for layer in self._layers]

    def _layer_graph(self, chunk: Chunk, layer: int) -> Callable[[], None]:
        plan, count, parameters = self._plan, chunk.rows, self._parameters

        def work() -> None:
            if layer == self.network.depth:
                plan.load_next(self._splits["train"], count)
                plan.output_delta(parameters, count, chunk.move)
            plan.layer_gradient(layer, parameters, count, self._gradient, chunk.add)
            self._stage(self.network.span(layer))

        return self._graph(("layer", *chunk[1:], layer), work)
