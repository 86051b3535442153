"""Where workers wait for each other: threads of a process or processes that share memory.

A *barrier* is passed by all workers or by none.  The last to arrive opens it.  The others
spin on one word of memory, then call ``sched_yield`` between looks, so that more workers than
cores still make progress.  No system call is made where all arrive within microseconds.

The counters only grow, so a barrier needs no reset, which a late worker could miss.  At one
arrival a nanosecond an ``int64`` lasts 292 years.

All atomic operations are sequentially consistent.  On x86 a load costs nothing more for it, and
the one store of a crossing is an exchange in any case.
"""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hpcpgd.kernels.blas.blas_library import call
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array, aligned_zeros

LINE = 8  # int64 numbers of a cache line: what different workers write lies on different ones
WORDS = 2 * LINE  # of a barrier: arrivals, and on another line the number that may pass
SPINS = 2000  # looks, about 50 µs, before a worker offers its core to others
IMPATIENCE = 200  # yields after which a thread without work goes to sleep
# LLVM's names of the instruction for loops that wait, and its argument where it has one.
PAUSE = {"x86_64": ("llvm.x86.sse2.pause", None), "aarch64": ("llvm.aarch64.hint", 1)}

_CLOCK = np.int32(time.CLOCK_MONOTONIC)


class Barrier(NamedTuple):
    """A barrier as compiled code takes it.

    ``state`` is memory that all its ``workers`` see; the addresses are of this process.
    """

    state: Array
    workers: int
    spins: int
    sched_yield: int
    clock_gettime: int
    nanosleep: int


def _address(function: str) -> int:
    found = getattr(ctypes.CDLL(None), function)
    return int(ctypes.cast(found, ctypes.c_void_p).value or 0)


def make_barrier(workers: int, state: Array | None = None, oversubscribed: bool = False) -> Barrier:
    """Return a barrier of ``workers``.

    Parameters
    ----------
    workers : int
    state : ndarray of int64, shape (WORDS,), optional
        Zeros that all workers see; without it they are threads of this process.
    oversubscribed : bool
        Whether there are more workers than cores: whoever waits then yields at once.
    """
    state = aligned_zeros(WORDS, np.int64) if state is None else state
    spins = 0 if oversubscribed else SPINS
    addresses = (_address(name) for name in ("sched_yield", "clock_gettime", "nanosleep"))
    return Barrier(state, workers, spins, *addresses)


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, ir.IntType(64).as_pointer())


@intrinsic
def fetch_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Add ``value`` to the int64 at ``address`` and return what stood there, atomically."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.uintp, types.int64), codegen


@intrinsic
def exchange(typingctx: Any, address: Any, value: Any) -> Any:
    """Put ``value`` in the int64 at ``address`` and return what stood there, atomically."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", _pointer(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.uintp, types.int64), codegen


@intrinsic
def load(typingctx: Any, address: Any) -> Any:
    """Return the int64 at ``address``; what its writer wrote before is seen after."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0]), "seq_cst", 8)

    return types.int64(types.uintp), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the processor that this is a loop that waits."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name, hint = PAUSE.get(platform.machine().replace("arm64", "aarch64"), ("", None))
        values = [] if hint is None else [ir.Constant(ir.IntType(32), hint)]
        if name:
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)
        return context.get_dummy_value()

    return types.void(), codegen


@compiled()
def address_of(words: Array, index: int) -> Any:
    """Return the address of an element of int64 ``words``."""
    return np.uintp(words.ctypes.data + 8 * index)


@compiled()
def nanoseconds(barrier: Barrier, timespec: Any) -> int:
    """Return the monotonic clock; ``timespec`` is the address of two int64 of this worker."""
    call(barrier.clock_gettime, (_CLOCK, timespec))
    now: int = load(timespec) * 1_000_000_000 + load(timespec + np.uintp(8))
    return now


@compiled()
def await_change(barrier: Barrier, address: Any, old: int, patience: int) -> bool:
    """Wait until the word at ``address`` exceeds ``old``; False after ``patience`` yields.

    A negative ``patience`` waits for ever.
    """
    for _ in range(barrier.spins):
        if load(address) > old:
            return True
        pause()
    yields = 0
    while load(address) <= old:
        if yields == patience:
            return False
        call(barrier.sched_yield, ())
        yields += 1
    return True


@compiled()
def wait_at(barrier: Barrier) -> None:
    """Wait until all workers are here; what each wrote before, all see after."""
    if barrier.workers == 1:
        return
    # Two cache lines: those who wait read ``opened``, which arrivals would take from them.
    arrivals, opened = address_of(barrier.state, 0), address_of(barrier.state, LINE)
    ticket = fetch_add(arrivals, 1)
    goal = ticket - ticket % barrier.workers + barrier.workers
    if ticket + 1 == goal:
        exchange(opened, goal)
    else:
        # Who looks late still finds the goal there: the next crossing opens only when this
        # worker, too, has come to it.
        await_change(barrier, opened, goal - 1, -1)


@compiled()
def wait_with_backoff(barrier: Barrier, address: Any, old: int, box: Array) -> int:
    """Wait for ever until the word at ``address`` exceeds ``old``, soon asleep; return it.

    For waits that may last: it looks again every 50 µs, later every millisecond.
    ``box``, int64 (2,), is this worker's own.
    """
    if not await_change(barrier, address, old, IMPATIENCE):
        box[0], box[1] = 0, 50_000  # a timespec: seconds, nanoseconds
        while load(address) <= old:
            call(barrier.nanosleep, (box.ctypes.data, np.int64(0)))
            box[1] = min(2 * box[1], 1_000_000)
    return load(address)
