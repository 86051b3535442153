"""``python -m hpcpgd.doctor.gemm_probe``: answers lines with seconds of a product."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

SIDE = 768
FLOPS = 2.0 * SIDE**3


def single_threaded_product() -> Callable[[], object]:
    """Return a function that multiplies two float32 matrices on one thread, as training does."""
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
    # These pointers keep their arrays alive.
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


if __name__ == "__main__":
    _answer()
