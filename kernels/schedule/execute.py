"""A schedule at work: compiled code that makes one worker's part of a step.

Every worker, be it a thread of this process or of another that shares its memory, carries
out the same command; they meet at barriers, and no Python runs in between.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hpcpgd.kernels.core.arithmetic import fma
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import (
    column_sums,
    descend,
    gather,
    gather_labels,
    output_delta,
    score,
)
from hpcpgd.kernels.core.network import FUNCTION, SLOPE, WIDTH, Array
from hpcpgd.kernels.core.partition import LANES, cut, whole_lines
from hpcpgd.kernels.core.permutation import permuted_range
from hpcpgd.kernels.core.views import activations_of, biases_of, deltas_of, matrix_at, weights_of
from hpcpgd.kernels.schedule import units
from hpcpgd.kernels.schedule.barrier import Barrier, nanoseconds, wait_at
from hpcpgd.kernels.schedule.phases import BACK, FORWARD, KIND, LAYER, OUTPUT, PARTS, SYNC, TILES
from hpcpgd.kernels.schedule.units import Memory, Span, Target

# A command: what all workers of a process carry out next.  Its number has a cache line alone.
NUMBER = 0
OPCODE, BEGIN, END, COUNT, PARITY, LEARN, PACKED = range(8, 15)
LOAD, LOAD_BEGIN, LOAD_END, POSITION, EPOCH = range(15, 20)
COMMAND_WORDS = 24
# Opcodes: phases of a schedule; the update of a whole vector; that of packed units; the end.
PROPAGATE, DESCEND, APPLY, LEAVE = range(4)
# The status that a worker reports for a command: a cache line of int64.
STOP, BAD, WAITED, LOADED, BOX = range(5)


class Layout(NamedTuple):
    """Who computes what, as compiled code takes it.

    Attributes
    ----------
    table : ndarray
        ``Network.table``.
    phases, bounds : ndarray
        ``Schedule.table`` and ``Schedule.bounds``.
    places : ndarray of int64, shape (workers,)
        Where in its process's packed target each worker's units begin.
    first : int
        Worker that is this process's thread 0.
    threads : int
        Workers of this process.
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
    """The rows that minibatches are gathered from.

    ``numbers = features * scale + offset``; a negative ``seed`` leaves the command as it is.
    """

    features: Array
    labels: Array
    scale: Any
    offset: Any
    seed: int
    stream: int


@compiled()
def timed_wait_at(barrier: Barrier, status: Array) -> None:
    """Cross, and note the nanoseconds that it took."""
    if barrier.workers > 1:
        begin = nanoseconds(barrier, status[BOX:])
        wait_at(barrier)
        status[WAITED] += nanoseconds(barrier, status[BOX:]) - begin


@compiled()
def _load(layout: Layout, memory: Memory, source: Source, command: Array, thread: int) -> None:
    """Gather this thread's part of the rows that its process brings in."""
    span = command[LOAD_END] - command[LOAD_BEGIN]
    begin, end = cut(span, layout.threads, thread, 1)
    begin, end = begin + command[LOAD_BEGIN], end + command[LOAD_BEGIN]
    numbers = memory.numbers[thread][: end - begin]
    start = command[POSITION] + begin
    if source.seed < 0:
        for i in range(numbers.size):
            numbers[i] = start + i
    else:
        rows = source.labels.size
        permuted_range(rows, source.seed, source.stream, command[EPOCH], start, numbers)
    inputs = activations_of(layout.table, memory.activations, 0, begin, end)
    gather(source.features, numbers, source.scale, source.offset, inputs)
    gather_labels(source.labels, numbers, memory.labels[begin:end])


@compiled()
def _output(
    library: Any, layout: Layout, memory: Memory, part: int, rows: Span, learn: bool
) -> None:
    """Compute outputs of ``rows``, their scores and, to learn from, their deltas."""
    table, last = layout.table, layout.table.shape[0] - 1
    units.forward(library, table, memory, last, rows, (0, table[last, WIDTH]))
    a = activations_of(table, memory.activations, last, rows[0], rows[1])
    labels, predicted = memory.labels[rows[0] : rows[1]], memory.predicted[rows[0] : rows[1]]
    score(layout.loss, table[last, FUNCTION], a, labels, predicted, memory.totals[part])
    if learn:
        delta = deltas_of(table, memory.deltas, last, rows[0], rows[1])
        output_delta(table[last, SLOPE], a, labels, delta)


@compiled()
def _target(
    layout: Layout, memory: Memory, command: Array, phase: int, unit: int, place: int
) -> Any:
    """Return the views (I, O) and (O,) that a unit of the gradient goes to, and its spans."""
    layer, parts, tiles = (
        layout.phases[phase, LAYER],
        layout.phases[phase, PARTS],
        layout.phases[phase, TILES],
    )
    top, bottom = cut(layout.table[layer - 1, WIDTH], parts, unit // tiles, 1)
    left, right = cut(layout.table[layer, WIDTH], tiles, unit % tiles, LANES)
    height, width = bottom - top, right - left
    if command[PACKED]:
        dweight = matrix_at(memory.target, place, height, width)[:, 0:width]
        end = place + whole_lines(height * width)
        dbias = memory.target[end : end + (width if top == 0 else 0)]
    else:
        dweight = weights_of(layout.table, memory.target, layer)[top:bottom, left:right]
        biases = biases_of(layout.table, memory.target, layer)
        dbias = biases[left : (right if top == 0 else left)]
    return dweight, dbias, (top, bottom), (left, right)


@compiled()
def _packed(dweight: Array, dbias: Array) -> int:
    """Return the room of a unit, whose parts begin on lines wherever it is computed."""
    return whole_lines(dweight.size) + whole_lines(dbias.size)


@compiled()
def _gradient(
    library: Any,
    layout: Layout,
    memory: Memory,
    command: Array,
    scales: Array,
    phase: int,
    unit: int,
    place: int,
    thread: int,
) -> Any:
    """Compute one unit of a gradient; return its size and whether its deltas are finite."""
    dweight, dbias, fan_in, columns = _target(layout, memory, command, phase, unit, place)
    layer, rows = layout.phases[phase, LAYER], (0, command[COUNT])
    target = Target(dweight, scales[0], scales[1], memory.scratch[thread])
    if dweight.size > 0:
        units.gradient(library, layout.table, memory, layer, rows, fan_in, columns, target)
    finite = True
    if dbias.size > 0:
        delta = deltas_of(layout.table, memory.deltas, layer, 0, command[COUNT])
        sums = memory.sums[thread][: dbias.size]
        finite = column_sums(delta, columns[0], sums)
        real = dbias.dtype.type
        for j in range(dbias.size):
            # Not dbias * 0: a NaN left in the buffer must not survive.
            before = dbias[j] * real(scales[1]) if scales[1] != 0 else real(0)
            dbias[j] = fma(real(scales[0]), sums[j], before)
    return _packed(dweight, dbias), finite


@compiled()
def _phase(
    library: Any, layout: Layout, memory: Memory, command: Array, phase: int, unit: int
) -> None:
    """Compute one unit of a phase other than a gradient."""
    kind, layer, parts, tiles = layout.phases[phase][:4]
    rows = cut(command[COUNT], parts, unit // tiles, 1)
    if rows[0] == rows[1]:
        return
    if kind == OUTPUT:
        _output(library, layout, memory, unit, rows, command[LEARN] != 0)
        return
    width = layout.table[layer if kind == FORWARD else layer - 1, WIDTH]
    columns = cut(width, tiles, unit % tiles, LANES)
    if columns[0] == columns[1]:
        return
    if kind == FORWARD:
        units.forward(library, layout.table, memory, layer, rows, columns)
    else:
        units.back(library, layout.table, memory, layer, rows, columns)


@compiled()
def _propagate(
    library: Any,
    barrier: Barrier,
    layout: Layout,
    memory: Memory,
    command: Array,
    scales: Array,
    worker: int,
    status: Array,
) -> None:
    """Compute this worker's units of the ordered phases."""
    place = layout.places[worker]
    for phase in range(command[BEGIN], command[END]):
        for unit in range(layout.bounds[phase, worker], layout.bounds[phase, worker + 1]):
            if layout.phases[phase, KIND] <= BACK:
                _phase(library, layout, memory, command, phase, unit)
                continue
            size, finite = _gradient(
                library, layout, memory, command, scales, phase, unit, place, worker - layout.first
            )
            place += size
            if not finite:
                status[BAD] = 1
        if layout.phases[phase, SYNC] and phase + 1 < command[END]:
            timed_wait_at(barrier, status)


@compiled()
def _apply(
    layout: Layout, memory: Memory, command: Array, scales: Array, worker: int, status: Array
) -> None:
    """Subtract this worker's packed units, times the rate, from the parameters."""
    place = layout.places[worker]
    rate = memory.target.dtype.type(scales[0])
    for phase in range(command[BEGIN], command[END]):
        layer = layout.phases[phase, LAYER]
        for unit in range(layout.bounds[phase, worker], layout.bounds[phase, worker + 1]):
            dweight, dbias, fan_in, columns = _target(layout, memory, command, phase, unit, place)
            weights = weights_of(layout.table, memory.parameters, layer)
            finite = True
            for i in range(dweight.shape[0]):
                row = weights[fan_in[0] + i][columns[0] : columns[1]]
                begin = place + i * row.size
                finite = descend(row, memory.target[begin : begin + row.size], rate) and finite
            biases = biases_of(layout.table, memory.parameters, layer)
            some = biases[columns[0] : columns[0] + dbias.size]
            finite = descend(some, dbias, rate) and finite
            place += _packed(dweight, dbias)
            if not finite:
                status[BAD] = 1


@compiled()
def execute(
    library: Any,
    barrier: Barrier,
    layout: Layout,
    memory: Memory,
    source: Source,
    command: Array,
    scales: Array,
    worker: int,
) -> None:
    """Carry out this worker's part of a command; all are done when it returns."""
    status = memory.status[command[PARITY], worker]
    status[BAD] = 0
    status[WAITED] = 0
    status[LOADED] = 0
    if command[OPCODE] == DESCEND:
        begin, end = cut(memory.parameters.size, layout.threads, worker - layout.first, LANES)
        rate = memory.target.dtype.type(scales[0])
        if not descend(memory.parameters[begin:end], memory.target[begin:end], rate):
            status[BAD] = 1
    elif command[OPCODE] == APPLY:
        _apply(layout, memory, command, scales, worker, status)
    else:
        if command[LOAD]:
            begin = nanoseconds(barrier, status[BOX:])
            _load(layout, memory, source, command, worker - layout.first)
            status[LOADED] = nanoseconds(barrier, status[BOX:]) - begin
            timed_wait_at(barrier, status)
        _propagate(library, barrier, layout, memory, command, scales, worker, status)
    timed_wait_at(barrier, status)
