"""``python -m hpcpgd.doctor.node_probe THREADS START FIRST``: how fast the cores of a rank are.

It starts at ``START`` on the monotonic clock, together with the other ranks of its node.  The
first rank measures one core while the others sleep; then all measure all their cores.  The
answer is a JSON object of rates, each the sum over the threads of their medians.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from hpcpgd.doctor.gemm_probe import FLOPS, single_threaded_product
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array
from hpcpgd.machine.fma_peak import Peak

ALONE = 0.3  # seconds of each measure on one core, and on all
TOGETHER = 0.4
# Numbers of each of the three arrays of a thread: 32 MiB, several times its share of a cache.
LENGTH = 2**22
TRIAD_BYTES = 3 * 8 * LENGTH  # as STREAM counts: two are read, one is written


@compiled(inline=False)
def _triad(a: Array, b: Array, c: Array, factor: float) -> None:
    """Compute ``a = b + factor * c``, STREAM's last kernel."""
    for k in range(a.size):
        a[k] = b[k] + factor * c[k]


def _triad_of_a_thread() -> Callable[[], object]:
    a, b, c = (np.ones(LENGTH) for _ in range(3))  # first touched by the thread that uses them
    return lambda: _triad(a, b, c, 3.0)


def _rate(work: Callable[[], object], amount: float, until: float) -> float:
    """Repeat ``work`` until a time, at least three times; return the median of amount a second."""
    rates: list[float] = []
    while len(rates) < 3 or time.monotonic() < until:
        begin = time.perf_counter()
        work()
        rates.append(amount / (time.perf_counter() - begin))
    return median(rates)


def _on_threads(
    make: Callable[[], Callable[[], object]], amount: float, threads: int, begin: float
) -> float:
    """Return the summed rate of as many threads, each with ``work`` of its own, from ``begin``."""
    rates = [0.0] * threads

    def run(number: int) -> None:
        work = make()
        work()
        time.sleep(max(begin - time.monotonic(), 0))
        rates[number] = _rate(work, amount, begin + TOGETHER)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(rates)


def measure(threads: int, start: float, first: bool) -> dict[str, float]:
    """Return the rates in 10⁹ a second: operations, and bytes of the triad."""
    peak, product = Peak(), single_threaded_product()
    product()
    _triad_of_a_thread()()  # compiles, or loads from the cache
    found = {}
    time.sleep(max(start - time.monotonic(), 0))
    if first:
        found["fma_one"] = _rate(peak.run, peak.flops, start + ALONE)
        found["gemm_one"] = _rate(product, FLOPS, start + 2 * ALONE)
    begin, step = start + 2 * ALONE + 0.1, TOGETHER + 0.2
    found["fma_all"] = _on_threads(lambda: peak.run, peak.flops, threads, begin)
    found["gemm_all"] = _on_threads(single_threaded_product, FLOPS, threads, begin + step)
    found["triad_all"] = _on_threads(_triad_of_a_thread, TRIAD_BYTES, threads, begin + 2 * step)
    return {name: rate / 1e9 for name, rate in found.items()}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "1")))
