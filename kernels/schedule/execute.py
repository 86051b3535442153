"""Execution of a schedule: compiled code that computes one worker's part of a step.

Workers are threads of this process and of others that share its memory.  All execute the same
command.  They wait for each other at barriers, and no Python runs in between.

No lock is needed: between two barriers, no number that one worker writes is read or written by
another.  Units of one phase do not intersect.  A phase that reads results of other workers
comes after a barrier (``Schedule.table`` says which phases need one).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hpcpgd.kernels.core.arithmetic import denormals_as_zero, fma, set_float_mode
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import (
    column_sums,
    gather,
    gather_labels,
    output_delta,
    score,
)
from hpcpgd.kernels.core.network import FUNCTION, SLOPE, WIDTH, Array
from hpcpgd.kernels.core.optimisers import SGD
from hpcpgd.kernels.core.partition import LANES, block_of, cut, whole_lines
from hpcpgd.kernels.core.permutation import permuted_range
from hpcpgd.kernels.core.update_rules import descend, optimise
from hpcpgd.kernels.core.views import activations_of, biases_of, deltas_of, matrix_at, weights_of
from hpcpgd.kernels.schedule import units
from hpcpgd.kernels.schedule.barrier import Barrier, nanoseconds, wait_at
from hpcpgd.kernels.schedule.command import APPLY, DESCEND, TIMESPEC
from hpcpgd.kernels.schedule.phases import BACK, FORWARD, GRADIENT, OUTPUT, Span
from hpcpgd.kernels.schedule.units import Memory, Target


class Layout(NamedTuple):
    """The assignment of units to workers, for compiled code.

    Attributes
    ----------
    table : ndarray
        ``Network.table``.
    phases, bounds : ndarray
        ``Schedule.table`` and ``Schedule.bounds``.
    places : ndarray of int64, shape (workers,)
        The index in a process's packed target at which each worker's units begin.
    first : int
        The worker that is thread 0 of this process.
    threads : int
        Number of workers of this process.
    loss : int
        Code of the loss.
    """

    table: Array
    phases: Array
    bounds: Array
    places: Array
    first: int
    threads: int
    loss: int


class Source(NamedTuple):
    """The rows from which minibatches are gathered.

    Inputs are ``features * scale + offset``.  With a negative ``seed`` the rows are in order.
    """

    features: Array
    labels: Array
    scale: Any
    offset: Any
    seed: int
    stream: int


class Work(NamedTuple):
    """The data on which workers of a process execute commands.

    Attributes
    ----------
    library : NamedTuple
        The library that units call; its type selects the backend's functions.
    """

    library: Any
    barrier: Barrier
    layout: Layout
    memory: Memory
    source: Source


@compiled()
def _timed_barrier(barrier: Barrier, status: Any, timespec: Any) -> None:
    """Wait for all workers, and add the nanoseconds of the wait to ``status.waited``."""
    if barrier.workers > 1:
        begin = nanoseconds(barrier, timespec)
        wait_at(barrier)
        status.waited += nanoseconds(barrier, timespec) - begin


@compiled()
def _load(work: Work, command: Any, thread: int) -> None:
    """Gather this thread's part of the rows that the process loads."""
    layout, memory, source = work.layout, work.memory, work.source
    begin, end = cut(command.load_end - command.load_begin, layout.threads, thread, 1)
    begin, end = begin + command.load_begin, end + command.load_begin
    numbers = memory.numbers[thread][: end - begin]
    start = command.position + begin
    if source.seed < 0:
        for i in range(numbers.size):
            numbers[i] = start + i
    else:
        rows = source.features.shape[0]
        permuted_range(rows, source.seed, source.stream, command.epoch, start, numbers)
    inputs = activations_of(layout.table, memory.activations, 0, begin, end)
    gather(source.features, numbers, source.scale, source.offset, inputs)
    gather_labels(source.labels, numbers, memory.labels[begin:end])


@compiled()
def _block(layout: Layout, phase: int, count: int, unit: int) -> Any:
    """Return the rows and columns of a unit in its phase's result, each (start, stop)."""
    record = layout.phases[phase]
    fan_in, fan_out = layout.table[record.layer - 1, WIDTH], layout.table[record.layer, WIDTH]
    height = fan_in if record.kind == GRADIENT else count
    width = fan_in if record.kind == BACK else fan_out
    return block_of((height, width), record.parts, record.tiles, unit)


@compiled()
def _output(work: Work, part: int, rows: Span, learn: bool, thread: int) -> None:
    """Compute outputs and scores of ``rows`` and, with ``learn``, their deltas."""
    layout, memory = work.layout, work.memory
    table, last = layout.table, layout.table.shape[0] - 1
    units.forward(work.library, table, memory, last, rows, (0, table[last, WIDTH]), thread)
    a = activations_of(table, memory.activations, last, rows[0], rows[1])
    labels, predicted = memory.labels[rows[0] : rows[1]], memory.predicted[rows[0] : rows[1]]
    score(layout.loss, table[last, FUNCTION], a, labels, predicted, memory.totals[part])
    if learn:
        delta = deltas_of(table, memory.deltas, last, rows[0], rows[1])
        output_delta(table[last, SLOPE], a, labels, delta)


@compiled()
def _target(layout: Layout, memory: Memory, command: Any, phase: int, unit: int, place: int) -> Any:
    """Return the views (I, O) and (O,) that receive a unit of the gradient, and its spans."""
    layer = layout.phases[phase].layer
    rows, columns = _block(layout, phase, 0, unit)
    height, width = rows[1] - rows[0], columns[1] - columns[0]
    biased = width if rows[0] == 0 else 0  # units at row 0 also have the biases of their columns
    if command.packed:
        dweight = matrix_at(memory.target, place, height, width)[:, 0:width]
        end = place + whole_lines(height * width)
        dbias = memory.target[end : end + biased]
    else:
        whole = weights_of(layout.table, memory.target, layer)
        dweight = whole[rows[0] : rows[1], columns[0] : columns[1]]
        dbias = biases_of(layout.table, memory.target, layer)[columns[0] : columns[0] + biased]
    return dweight, dbias, rows, columns


@compiled()
def _packed(dweight: Array, dbias: Array) -> int:
    """Return the size of a packed unit: both parts begin on a multiple of ``LANES``."""
    return whole_lines(dweight.size) + whole_lines(dbias.size)


@compiled()
def _gradient(work: Work, command: Any, phase: int, unit: int, place: int, thread: int) -> Any:
    """Compute one unit of a gradient; return its packed size and whether ∂b is finite."""
    layout, memory = work.layout, work.memory
    dweight, dbias, fan_in, columns = _target(layout, memory, command, phase, unit, place)
    layer, rows = layout.phases[phase].layer, (0, command.count)
    target = Target(rows, fan_in, columns, dweight, command.scale, command.before)
    if dweight.size > 0:
        units.gradient(work.library, layout.table, memory, layer, target, thread)
    finite = True
    if dbias.size > 0:
        delta = deltas_of(layout.table, memory.deltas, layer, 0, command.count)
        sums = memory.sums[thread][: dbias.size]
        finite = column_sums(delta, columns[0], sums)
        real = dbias.dtype.type
        for j in range(dbias.size):
            # Not dbias * 0: a NaN that is left in the buffer would stay NaN.
            before = dbias[j] * real(command.before) if command.before != 0 else real(0)
            dbias[j] = fma(real(command.scale), sums[j], before)
    return _packed(dweight, dbias), finite


@compiled()
def _phase(work: Work, command: Any, phase: int, unit: int, thread: int) -> None:
    """Compute one unit of a phase other than a gradient."""
    layout, memory = work.layout, work.memory
    kind, layer = layout.phases[phase].kind, layout.phases[phase].layer
    rows, columns = _block(layout, phase, command.count, unit)
    if rows[0] == rows[1] or columns[0] == columns[1]:
        return  # empty, as there are fewer rows or columns than units
    if kind == OUTPUT:
        _output(work, unit, rows, command.learn != 0, thread)
    elif kind == FORWARD:
        units.forward(work.library, layout.table, memory, layer, rows, columns, thread)
    else:
        units.back(work.library, layout.table, memory, layer, rows, columns, thread)


@compiled()
def _propagate(work: Work, command: Any, worker: int, status: Any, timespec: Any) -> None:
    """Compute this worker's units of the command's phases."""
    layout = work.layout
    place, thread = layout.places[worker], worker - layout.first
    for phase in range(command.begin, command.end):
        for unit in range(layout.bounds[phase, worker], layout.bounds[phase, worker + 1]):
            if layout.phases[phase].kind <= BACK:
                _phase(work, command, phase, unit, thread)
                continue
            size, finite = _gradient(work, command, phase, unit, place, thread)
            place += size
            if not finite:
                status.bad = 1
        # No barrier after the command's last phase: ``execute`` ends with one.
        if layout.phases[phase].sync and phase + 1 < command.end:
            _timed_barrier(work.barrier, status, timespec)


@compiled()
def _update(memory: Memory, command: Any, parameters: Array, place: int) -> bool:
    """Update parameters whose gradient begins at ``place``; return whether that is finite."""
    gradient = memory.target[place : place + parameters.size]
    if command.rule == SGD and command.decay == 0 and command.scale == 1:
        return descend(parameters, gradient, gradient.dtype.type(command.rate))
    return optimise(command, parameters, gradient, memory.states, place)


@compiled()
def _apply(work: Work, command: Any, worker: int, status: Any) -> None:
    """Update the parameters with this worker's packed units of the gradient."""
    layout, memory = work.layout, work.memory
    place = layout.places[worker]
    for phase in range(command.begin, command.end):
        layer = layout.phases[phase].layer
        for unit in range(layout.bounds[phase, worker], layout.bounds[phase, worker + 1]):
            dweight, dbias, fan_in, columns = _target(layout, memory, command, phase, unit, place)
            weights = weights_of(layout.table, memory.parameters, layer)
            finite = True
            for i in range(dweight.shape[0]):
                row = weights[fan_in[0] + i][columns[0] : columns[1]]
                finite = _update(memory, command, row, place + i * row.size) and finite
            biases = biases_of(layout.table, memory.parameters, layer)
            block = biases[columns[0] : columns[0] + dbias.size]
            finite = _update(memory, command, block, place + whole_lines(dweight.size)) and finite
            place += _packed(dweight, dbias)
            if not finite:
                status.bad = 1


@compiled()
def execute(work: Work, command: Any, worker: int) -> None:
    """Execute this worker's part of a command, which all workers execute; ends with a barrier."""
    barrier, layout, memory = work.barrier, work.layout, work.memory
    # Deltas of units that are saturated are denormals, which make products far slower.
    mode = denormals_as_zero()
    # Two statuses take turns: a fast worker may begin the next command and clear its status
    # while a slow leader still reads the results of the last one.
    status = memory.status[command.parity, worker]
    line = memory.status[command.parity, worker : worker + 1]
    timespec = np.uintp(line.ctypes.data + TIMESPEC)
    # Only the first worker of a process reports a stop, so that the sum counts processes.
    status.stop = command.stop if worker == layout.first else 0
    status.bad, status.waited, status.loaded = 0, 0, 0
    if command.opcode == DESCEND:
        begin, end = cut(memory.parameters.size, layout.threads, worker - layout.first, LANES)
        if not _update(memory, command, memory.parameters[begin:end], begin):
            status.bad = 1
    elif command.opcode == APPLY:
        _apply(work, command, worker, status)
    else:
        if command.load:
            begin = nanoseconds(barrier, timespec)
            _load(work, command, worker - layout.first)
            status.loaded = nanoseconds(barrier, timespec) - begin
            _timed_barrier(barrier, status, timespec)
        _propagate(work, command, worker, status, timespec)
    set_float_mode(mode)
    # After this barrier all results and statuses are complete, and the leader may read them.
    _timed_barrier(barrier, status, timespec)
