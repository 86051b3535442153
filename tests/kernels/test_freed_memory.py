"""``$HPCPGD_DEBUG_MEMORY``: freed memory cannot be read, and threads end before it is freed."""

from __future__ import annotations

import signal

import pytest

from tests.helpers.support import environment, python

DEBUG = environment(HPCPGD_DEBUG_MEMORY="1")
PRIVATE = """
import ctypes
from hpcpgd.kernels.core.network import aligned_zeros

first = aligned_zeros(10, "float64")
assert first.ctypes.data % 64 == 0
first[:] = 7
view, address = first[3:], first.ctypes.data
del first
assert (view == 7).all()
del view
assert aligned_zeros(10, "float64").ctypes.data != address
print("freed", flush=True)
ctypes.string_at(address, 1)
"""
SHARED = """
import ctypes
from hpcpgd.parallel import mpi

world = mpi.start()
memory, window = mpi.shared_bytes(world, 100)
memory[world.rank] = 7
world.Barrier()
assert memory.sum() == 7 * world.size
mpi.free_window(window)
if world.rank == {reader}:
    print("freed", flush=True)
    ctypes.string_at(memory.ctypes.data + {offset}, 1)
mpi.finish()
"""
# A plan whose threads have a barrier in memory that is freed as soon as the plan is closed.
POOL = """
import ctypes, mmap, sys, threading
import numpy as np
from hpcpgd.machine import jit_cache
jit_cache.use(jit_cache.choose())
from hpcpgd.kernels.backends.registry import make_scheduled_plan
from hpcpgd.kernels.schedule.barrier import WORDS, make_barrier
from hpcpgd.kernels.core.network import Network, aligned_zeros
from hpcpgd.kernels.schedule.phases import fixed
from hpcpgd.kernels.schedule.scheduled_plan import WorkerRange

if sys.argv[1:]:
    threading.Thread.join = lambda thread: None
net, threads = Network((5, 4, 3)), 8
for turn in range(40):
    state = [aligned_zeros(WORDS, np.int64)]
    place = WorkerRange(0, threads, make_barrier(threads, state[0], oversubscribed=True))
    plan = make_scheduled_plan("loops", net, 8, None, fixed(net, 8, 4, threads), place)
    parameters, out = net.zeros(), net.zeros()
    for step in range(3):
        plan.gradient(parameters, 8, out, False)
    address = state.pop().ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    plan.close()
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(1), 0) == 0
"""


def test_private_buffers() -> None:
    done = python("-c", PRIVATE, env=DEBUG)
    assert (done.code, done.out) == (-signal.SIGSEGV, "freed\n")


@pytest.mark.parametrize(("reader", "offset"), [(0, 0), (1, 99)])
def test_windows_of_mpi(reader: int, offset: int) -> None:
    """On every rank, from the first byte to the last."""
    done = python("-c", SHARED.format(reader=reader, offset=offset), ranks=2, env=DEBUG)
    assert done.code != 0
    assert "Segmentation fault (signal 11)" in done.out + done.err
    assert "freed" in done.out


def test_no_thread_reads_what_is_freed_after_close() -> None:
    assert python("-c", POOL, env=DEBUG).code == 0


def test_a_thread_that_is_not_waited_for_would_be_noticed() -> None:
    assert python("-c", POOL, "no join", env=DEBUG).code == -signal.SIGSEGV
