"""``python -m hpcpgd.doctor.gemm_probe NAME...``: how fast a matrix product is here.

Without words it answers every line of its input with the seconds of one product.  Given
names of variables, it asks itself with these as they are and without them, in turns.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

SIDE = 768
ROUNDS = 15
FLOPS = 2.0 * SIDE**3


def single_threaded_product() -> Callable[[], object]:
    """Return what multiplies two matrices in float32 as the program does, on one thread."""
    from threadpoolctl import threadpool_limits

    from hpcpgd.kernels.blas.blas_library import Blas
    from hpcpgd.machine.resources import find_blas

    a, b, c = (np.ones((SIDE, SIDE), np.float32) for _ in range(3))
    blas = find_blas("gemm")
    threadpool_limits(1, user_api="blas")
    if not isinstance(blas, Blas):
        return lambda: np.matmul(a, b, out=c)
    function = getattr(blas.handle, f"{blas.prefix}cblas_sgemm{blas.suffix}")
    function.restype = None
    whole = ctypes.c_int64 if blas.wide else ctypes.c_int32
    side, one, zero = whole(SIDE), ctypes.c_float(1), ctypes.c_float(0)
    # Pointers that keep their arrays alive.
    x, y, z = (matrix.ctypes.data_as(ctypes.c_void_p) for matrix in (a, b, c))
    row_major, plain = 101, 111
    return lambda: function(
        row_major, plain, plain, side, side, side, one, x, side, y, side, zero, z, side
    )


def _answer() -> None:
    product = single_threaded_product()
    product()
    for _ in sys.stdin:
        begin = perf_counter()
        product()
        print(perf_counter() - begin, flush=True)


def _start(environ: dict[str, str]) -> Any:
    command = [sys.executable, "-m", "hpcpgd.doctor.gemm_probe", "answer"]
    return subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def compare(names: list[str]) -> list[float]:
    """Return GFLOP/s as the environment is and, given ``names``, without them; and the ratio.

    Medians, of paired times: what else the machine does slows both alike.
    """
    environ = dict(os.environ)
    environments = [environ]
    if names:
        environments.append({k: v for k, v in environ.items() if k not in names})
    asked = [_start(one) for one in environments]
    seconds: list[list[float]] = [[] for _ in asked]
    for _ in range(ROUNDS):
        for process, own in zip(asked, seconds, strict=True):
            process.stdin.write("\n")
            process.stdin.flush()
            own.append(float(process.stdout.readline()))
    for process in asked:
        process.communicate()
    ratio = median(np.divide(seconds[-1], seconds[0]))
    speeds = [FLOPS / median(own) / 1e9 for own in seconds]
    return [speeds[0], speeds[-1], ratio]


if __name__ == "__main__":
    if sys.argv[1:] == ["answer"]:
        _answer()
    else:
        print(json.dumps(compare(sys.argv[1:])))
