"""A barrier for workers: threads of one process, or of several that share memory.

Either all workers pass a barrier or none.  The last worker to arrive opens it.  The others
spin on one word of memory, then call ``sched_yield`` between reads, so that more workers than
cores still make progress.  If all arrive within microseconds, there is no system call.

The counters only grow, so a barrier needs no reset, which a late worker could miss.  With one
arrival per nanosecond an ``int64`` lasts 292 years.

All atomic operations are sequentially consistent.  On x86 this costs nothing for a load, and
the only store of a barrier is an exchange anyway.
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

LINE = 8  # int64 numbers of a cache line; different workers write to different lines
WORDS = 2 * LINE  # of a barrier: arrivals, and on another line the number that may pass
SPINS = 2000  # reads, about 50 µs, before a worker yields its core to others
IMPATIENCE = 200  # yields after which a thread without work sleeps
# LLVM's names of the instruction for loops that wait, and its argument if it has one.
PAUSE = {"x86_64": ("llvm.x86.sse2.pause", None), "aarch64": ("llvm.aarch64.hint", 1)}

_CLOCK = np.int32(time.CLOCK_MONOTONIC)


class Barrier(NamedTuple):
    """A barrier, for compiled code.

    ``state`` is memory that all ``workers`` share.  ``spins`` counts reads before a yield.  The
    others are addresses of C functions in this process.
    """

    state: Array
    workers: int
    spins: int
    sched_yield: int
    clock_gettime: int
    nanosleep: int


def _address(function: str) -> int:
    symbol = getattr(ctypes.CDLL(None), function)
    return int(ctypes.cast(symbol, ctypes.c_void_p).value or 0)


def make_barrier(workers: int, state: Array | None = None, oversubscribed: bool = False) -> Barrier:
    """Return a barrier of ``workers``.

    Parameters
    ----------
    workers : int
        Number of threads, over all processes, that wait for each other.
    state : ndarray of int64, shape (WORDS,), optional
        Zeros in memory that all workers share.  By default, memory of this process.
    oversubscribed : bool
        Whether there are more workers than cores: a worker that waits then yields at once.
    """
    state = aligned_zeros(WORDS, np.int64) if state is None else state
    spins = 0 if oversubscribed else SPINS
    addresses = (_address(name) for name in ("sched_yield", "clock_gettime", "nanosleep"))
    return Barrier(state, workers, spins, *addresses)


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, ir.IntType(64).as_pointer())


@intrinsic
def fetch_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Add ``value`` to the int64 at ``address`` and return the old value, atomically."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.uintp, types.int64), codegen


@intrinsic
def exchange(typingctx: Any, address: Any, value: Any) -> Any:
    """Store ``value`` in the int64 at ``address`` and return the old value, atomically."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", _pointer(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.uintp, types.int64), codegen


@intrinsic
def load(typingctx: Any, address: Any) -> Any:
    """Return the int64 at ``address``, atomically; earlier writes of its writer are visible."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0]), "seq_cst", 8)

    return types.int64(types.uintp), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Hint to the processor that this is a loop that waits."""

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
    """Return the monotonic clock; ``timespec`` is the address of two int64 for this worker only."""
    call(barrier.clock_gettime, (_CLOCK, timespec))
    now: int = load(timespec) * 1_000_000_000 + load(timespec + np.uintp(8))
    return now


@compiled()
def await_change(barrier: Barrier, address: Any, old: int, patience: int) -> bool:
    """Wait until the word at ``address`` exceeds ``old``; return False after ``patience`` yields.

    With a negative ``patience`` the wait has no limit.
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
    """Wait until all workers are here; afterwards all see what each has written before."""
    if barrier.workers == 1:
        return
    # On two cache lines: otherwise each arrival would invalidate the line that others spin on.
    arrivals, opened = address_of(barrier.state, 0), address_of(barrier.state, LINE)
    ticket = fetch_add(arrivals, 1)
    goal = ticket - ticket % barrier.workers + barrier.workers
    if ticket + 1 == goal:
        exchange(opened, goal)
    else:
        # A worker that reads late still sees the goal: the next barrier opens only after this
        # worker has arrived there, too.
        await_change(barrier, opened, goal - 1, -1)


@compiled()
def wait_with_backoff(barrier: Barrier, address: Any, old: int, box: Array) -> int:
    """Wait, without limit, until the word at ``address`` exceeds ``old``; return the word.

    For long waits: after a short spin it sleeps between reads, first 50 µs, later a millisecond.
    ``box``, int64 (2,), is for this worker only.
    """
    if not await_change(barrier, address, old, IMPATIENCE):
        box[0], box[1] = 0, 50_000  # a timespec: seconds, nanoseconds
        while load(address) <= old:
            call(barrier.nanosleep, (box.ctypes.data, np.int64(0)))
            box[1] = min(2 * box[1], 1_000_000)
    return load(address)
