"""``python -m hpcpgd.doctor.node_probe THREADS BYTES``: measure how fast the cores of a rank are.

It answers each line of its input with one line.  The first line is empty; the answer comes when
all loops are compiled.  Then pairs of lines follow.  The first of a pair is the name of a rate; the
answer comes when all threads are ready.  The second is the time on the monotonic clock at which the
measurement begins, the same on all ranks of a node; the answer is the rate in 10⁹ operations or
bytes a second.  A rate can be asked for again.  Each thread has three arrays of BYTES for triads.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache, partial
from itertools import cycle
from typing import NoReturn

import numpy as np

from hpcpgd.doctor.gemm_probe import FLOPS, single_threaded_product
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array
from hpcpgd.machine.fma_peak import Peak

SECONDS = 0.15  # of each measurement
PIECE = 2**18  # numbers of each array that one call works on, for less than a millisecond
TRIAD_BYTES = 3 * 8 * PIECE  # of one call, as STREAM counts: two are read, one is written


@compiled(inline=False)
def _triad(a: Array, b: Array, c: Array, factor: float) -> None:
    """Compute ``a = b + factor * c``, STREAM's last kernel."""
    for k in range(a.size):
        a[k] = b[k] + factor * c[k]


def _triad_of_a_thread(nbytes: int) -> Callable[[], object]:
    """Return a function that works on one piece of three arrays of ``nbytes``, in turns."""
    pieces = max(nbytes // (8 * PIECE), 1)
    # The thread that uses the arrays is the first to touch them.
    a, b, c = (np.ones((pieces, PIECE)) for _ in range(3))
    turns = cycle(zip(a, b, c, strict=True))
    return lambda: _triad(*next(turns), 3.0)


def work_within(work: Callable[[], object], amount: float, begin: float, end: float) -> float:
    """Repeat ``work`` from ``begin`` to ``end``; return the amount that was done until then.

    The last repetition goes on beyond ``end`` and counts in part.  Then all threads work
    during the whole window, and their amounts can be added.
    """
    time.sleep(max(begin - time.monotonic(), 0))
    done, now = 0.0, time.monotonic()
    while now < end:
        start = now
        work()
        now = time.monotonic()
        done += amount * min((end - start) / (now - start), 1.0)
    return done


def prepare(
    make: Callable[[], Callable[[], object]], amount: float, threads: int
) -> Callable[[float], float]:
    """Start threads and wait until each has made its work and done it once.

    The returned function takes the time at which all threads begin, and returns the amount that
    they do together in a second.  The threads then wait for the next call.
    """
    done, window = [0.0] * threads, [0.0, 0.0]
    barrier = threading.Barrier(threads + 1)

    def run(number: int) -> None:
        work = make()
        work()
        barrier.wait()  # this thread is ready
        while True:
            barrier.wait()  # the window is known
            done[number] = work_within(work, amount, *window)
            barrier.wait()  # the window is over

    def measure(begin: float) -> float:
        window[:] = begin, begin + SECONDS
        barrier.wait()
        barrier.wait()
        return sum(done) / SECONDS

    for number in range(threads):
        threading.Thread(target=run, args=(number,), daemon=True).start()
    barrier.wait()
    return measure


def serve(threads: int, nbytes: int) -> None:
    """Answer the lines of standard input."""
    peak = Peak()
    measures: dict[str, tuple[Callable[[], Callable[[], object]], float]] = {
        "fma": (lambda: peak.run, peak.flops),
        "gemm": (single_threaded_product, FLOPS),
        "triad": (partial(_triad_of_a_thread, nbytes), TRIAD_BYTES),
    }

    @cache
    def prepared(name: str) -> Callable[[float], float]:
        what, _, cores = name.partition("_")
        return prepare(*measures[what], threads if cores == "all" else 1)

    _triad_of_a_thread(1)()  # compiles, or loads from the cache
    input()
    print("ready", flush=True)
    for line in sys.stdin:
        measure = prepared(line.strip())
        print("ready", flush=True)
        print(measure(float(sys.stdin.readline())) / 1e9, flush=True)


def _end(error: threading.ExceptHookArgs) -> NoReturn:
    """End the process if a thread fails: the others would wait for it at the barrier."""
    traceback.print_exception(error.exc_value)
    os._exit(1)


if __name__ == "__main__":
    threading.excepthook = _end
    serve(int(sys.argv[1]), int(sys.argv[2]))
