"""An engine whose dataset, parameters and gradient stay on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from hpcpgd.engines.context import RunContext
from hpcpgd.engines.device_rows import ensure_room, upload
from hpcpgd.engines.engine import Engine, Span
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.backends.registry import make_device_plan
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.optimisers import Update
from hpcpgd.kernels.core.workspace import TOTALS
from hpcpgd.kernels.device.device_plan import DevicePlan, Move
from hpcpgd.machine.gpu import ALONE, STAGED, Gpu, device_errors
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_names import COMPUTE, UPDATE

TF32_GENERATION = 80  # compute capability, times ten
CHECK_EVERY = 256  # steps between checks for NaN and Inf: each check waits for the GPU


class Chunk(NamedTuple):
    """A part of a slice that the plan computes at once."""

    first: int  # position in the order of the epoch
    rows: int
    add: bool  # whether to add to the gradient of earlier chunks
    move: Move  # from the device's position to the next chunk or slice


class DeviceEngine(Engine):
    """An engine on a GPU.  Steps are recorded as graphs and run asynchronously.

    On one rank a step is one graph.  On several ranks it is two: the gradient before the MPI
    call, and the update after it.  The clock cannot measure parts of a graph: gathering the
    rows counts as ``compute``, and so does an update that delays the next gradient.

    Parameters
    ----------
    context : RunContext
        Its dataset is copied to the device as it is stored.  Its ``stop`` is read every
        ``CHECK_EVERY`` steps.
    by_layer : bool
        Whether the last chunk of a slice is a graph for each layer, as `pieces` needs it.
    """

    def __init__(
        self, context: RunContext, gpu: Gpu, plan: DevicePlan, by_layer: bool = False
    ) -> None:
        super().__init__(context, plan.capacity)
        self._plan, self._device = plan, plan.device
        self._splits = upload(self._device, context.dataset, self.network.dtype)
        self._parameters = self._device.buffer(self.network.size, self.network.dtype)
        self._gradient = self._device.buffer(self.network.size, self.network.dtype)
        self._device.write(self._parameters, context.parameters)
        self._alone = gpu.transport == ALONE
        self._staging: Array | None = None
        if gpu.transport == STAGED:
            self._staging = self._device.pinned(self.network.size, self.network.dtype)
        self._layers = range(self.network.depth, 0, -1) if by_layer else range(0)
        self._marks: list[Any] = []  # one for each layer of the current slice
        self._recorded: dict[tuple[object, ...], Callable[[], None]] = {}
        self._examples = 0
        self._before = np.zeros(TOTALS)  # totals of the epoch's steps before a checkpoint
        self._at: tuple[int, int, int] | None = None  # epoch, position, step on the device

    @property
    def parameters(self) -> Array:  # type: ignore[override]  # read from the device
        """A copy of the flat vector of parameters; waits for pending steps."""
        return self._device.read(self._parameters, self.network.size)

    def warm_up(self, steps: Sequence[tuple[Span, Update]]) -> None:
        """Compile the kernels, run each shape of a step once, and record the graphs."""
        for rows, _ in steps:
            for chunk in self._chunks(rows):
                self._plan.seek(0, chunk.first, 0)  # positions must stay inside a permutation
                self._differentiate(chunk)
        self._device.clear(self._gradient)
        self._plan.update(self._parameters, self._gradient, 0.0)
        self._plan.load(self._splits["train"], 0, 1)
        self._plan.evaluate(self._parameters, 1)
        self._plan.reset()
        self._at = None
        for rows, update in steps:
            self._prepare_step(rows, update.rate)

    def partial(self, epoch: int, rows: Span) -> None:
        """Sum the gradient over this rank's slice, chunk by chunk."""
        self._examples += rows[1] - rows[0]
        if rows[0] == rows[1]:
            # The device counts one slice for each step, even without rows.
            self._seek(epoch, rows[0], self.steps + 1)
            self._device.clear(self._gradient)
            self._stage((0, self.network.size))
        for chunk in self._chunks(rows):
            self._seek(epoch, chunk.first, self.steps)
            self._launch(chunk)
            self._moved(epoch, chunk)

    def summed(self) -> Any:
        """Wait for the gradient and return it: only here MPI reads what a GPU has written.

        The stream is then empty, and nothing is put in it before MPI is done.
        """
        self._device.synchronize()
        return self._exposed((0, self.network.size))

    def learn_stop(self, comm: mpi.Comm) -> None:
        """Ask other ranks every ``CHECK_EVERY`` steps; a flag in each step would make it wait."""
        if (self.steps + 1) % CHECK_EVERY == 0:
            raised = np.array([self._stop.requested], np.int64)
            mpi.allreduce_sum(comm, raised)
            self.stopping = bool(raised[0])

    def pieces(self, epoch: int, rows: Span) -> Iterator[Any]:
        """Compute the gradient over ``rows``; yield each layer as soon as MPI may sum it.

        All graphs are launched at once.  The host then waits for the marks between them, and
        each layer's gradient is summed while the next is computed.  A yielded None asks the
        caller to let MPI progress while the device computes.
        """
        self._marks.clear()
        self.partial(epoch, rows)
        if not self._marks:  # an empty slice: all its layers are complete at once
            self._marks += [self._device.mark()] * len(self._layers)
        for layer, mark in zip(self._layers, self._marks, strict=True):
            while not self._device.reached(mark):
                yield None
            self._clock.lap(COMPUTE)
            yield self._exposed(self.network.span(layer))

    def clear(self) -> None:
        """Set the gradient to zero, in the stream of the device."""
        if self._staging is not None:
            self._staging[:] = 0
        self._device.clear(self._gradient)

    def _exposed(self, span: Span) -> Any:
        """Return a part of the gradient for MPI; its work in the stream must be complete."""
        if self._staging is not None:
            return self._staging[slice(*span)]
        return self._device.exposed(self._gradient.part(*span))

    def update(self, update: Update) -> None:
        """Subtract the rate times the gradient from the parameters; others are refused before."""
        self._update_graph(update.rate)()
        self._end_step(UPDATE)

    def step(self, epoch: int, rows: Span, update: Update) -> None:
        """Make a whole step on one rank: one graph, unless the rows need several chunks."""
        if not 0 < rows[1] - rows[0] <= self.capacity:
            self.partial(epoch, rows)
            self.update(update)
            return
        (chunk,) = self._chunks(rows)
        self._examples += chunk.rows
        self._seek(epoch, chunk.first, self.steps)
        self._step_graph(chunk, update.rate)()
        self._moved(epoch, chunk)
        self._end_step(COMPUTE)

    def settle(self) -> None:
        """Wait for pending steps, then check for NaN and Inf."""
        self.bad_step = self._plan.first_bad()
        self._clock.lap(COMPUTE)

    def score(self, split: str, first: int, count: int) -> None:
        """Predict ``count`` rows of a split from ``first`` on; add to the totals."""
        self._examples += count
        self._plan.load(self._splits[split], first, count)
        self._plan.evaluate(self._parameters, count)

    def predicted(self, count: int) -> Array:
        """Return the classes that ``score`` predicted: int32, shape (count,)."""
        return self._plan.predicted(count)

    def take_totals(self) -> Array:
        """Return the totals of loss, correct predictions and examples, (8,); set them to 0."""
        out = self._before + self._plan.take_totals(self._examples)
        self._examples = 0
        self._before = np.zeros(TOTALS)
        return out

    def totals(self) -> Array:
        """Return the totals, as ``take_totals`` does, and keep them."""
        return self._before + self._plan.totals(self._examples)

    def restore(self, steps: int, totals: Array, first: bool) -> None:
        """Continue after ``steps``; the ``first`` rank keeps the totals of all ranks."""
        self.steps = steps
        self._before = totals.sum(axis=0) if first else np.zeros(TOTALS)

    def close(self) -> None:
        """Do nothing: a GPU needs no threads of the host."""

    def _end_step(self, phase: int) -> None:
        self.steps += 1
        self._clock.lap(phase)
        if self.steps % CHECK_EVERY == 0:
            self.settle()
            if self._alone:
                self.stopping = self._stop.requested

    def _chunks(self, rows: Span) -> Iterator[Chunk]:
        for first in range(*rows, self.capacity):
            count = min(self.capacity, rows[1] - first)
            ends = first + count == rows[1]
            # The same slice of the next minibatch begins a whole minibatch later.
            distance = rows[0] + self._sampler.batch_size - first if ends else count
            yield Chunk(first, count, first > rows[0], Move(distance, ends))

    def _moved(self, epoch: int, chunk: Chunk) -> None:
        """Record the device's position after ``chunk``, to which its kernels have moved it."""
        self._at = (epoch, chunk.first + chunk.move.rows, self.steps + chunk.move.ends)

    def _seek(self, epoch: int, position: int, step: int) -> None:
        """Set the device's position, unless its kernels have already moved it there."""
        if self._at != (epoch, position, step):
            self._plan.seek(self._sampler.key(epoch), position, step)
            self._at = (epoch, position, step)

    def _launch(self, chunk: Chunk) -> None:
        for graph in self._gradient_graphs(chunk):
            graph()
            if self._layers and chunk.move.ends:
                self._marks.append(self._device.mark())

    def _differentiate(self, chunk: Chunk) -> None:
        plan, count = self._plan, chunk.rows
        plan.load_next(self._splits["train"], count)
        plan.gradient(self._parameters, count, self._gradient, chunk.add, chunk.move)
        if chunk.move.ends:
            self._stage((0, self.network.size))

    def _stage(self, span: Span) -> None:
        if self._staging is not None:
            self._device.copy_out(self._gradient.part(*span), self._staging[slice(*span)])

    def _descend(self, rate: float) -> None:
        if self._staging is not None:
            self._device.copy_in(self._staging, self._gradient)
        self._plan.update(self._parameters, self._gradient, rate)

    def _prepare_step(self, rows: Span, rate: float) -> None:
        """Record the graphs of a step before steps are timed."""
        chunks = list(self._chunks(rows))
        if self._alone and len(chunks) == 1:
            self._step_graph(chunks[0], rate)
            return
        for chunk in chunks:
            self._gradient_graphs(chunk)
        self._update_graph(rate)

    def _step_graph(self, chunk: Chunk, rate: float) -> Callable[[], None]:
        def work() -> None:
            self._differentiate(chunk)
            self._descend(rate)

        return self._graph(("step", *chunk[1:], rate), work)

    def _gradient_graphs(self, chunk: Chunk) -> list[Callable[[], None]]:
        if self._layers and chunk.move.ends:
            return [self._layer_graph(chunk, layer) for layer in self._layers]
        return [self._graph(("gradient", *chunk[1:]), lambda: self._differentiate(chunk))]

    def _layer_graph(self, chunk: Chunk, layer: int) -> Callable[[], None]:
        plan, count, parameters = self._plan, chunk.rows, self._parameters

        def work() -> None:
            if layer == self.network.depth:
                plan.load_next(self._splits["train"], count)
                plan.output_delta(parameters, count, chunk.move)
            plan.layer_gradient(layer, parameters, count, self._gradient, chunk.add)
            self._stage(self.network.span(layer))

        return self._graph(("layer", *chunk[1:], layer), work)

    def _update_graph(self, rate: float) -> Callable[[], None]:
        return self._graph(("update", rate), lambda: self._descend(rate))

    def _graph(self, key: tuple[object, ...], work: Callable[[], None]) -> Callable[[], None]:
        """Return the launch of the graph of ``work``, which the first call records."""
        if key not in self._recorded:
            self._recorded[key] = self._device.record(work)
        return self._recorded[key]


def make_device_engine(
    context: RunContext, gpu: Gpu, capacity: int, by_layer: bool = False
) -> DeviceEngine:
    """Return an engine on ``gpu`` that works on ``capacity`` rows at once.

    Raises
    ------
    UnavailableError
        If the GPU has too little memory, or lacks the precision of ``matmul_precision``.
    """
    config = context.config
    if config.matmul_precision == "tf32" and gpu.device.generation < TF32_GENERATION:
        # cuBLAS would compute in float32 without an error.
        raise UnavailableError(
            f"{gpu.model}: matmul-precision tf32 needs compute capability 8.0 or more, "
            f"this GPU has {gpu.device.generation / 10}: leave it out"
        )
    ensure_room(gpu, context.network, context.dataset, capacity)
    with device_errors(gpu.place):
        plan = make_device_plan(
            config.backend, context.network, capacity, gpu.device, config.matmul_precision
        )
        return DeviceEngine(context, gpu, plan, by_layer)
