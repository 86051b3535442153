"""``np.matmul`` with the interface of GEMM, for a NumPy whose BLAS exports no symbol.

Some conda and vendor builds hide their BLAS.  Compiled code then calls back into Python
for every product: this is correct but slower, and the user is told.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from hpcpgd.kernels.blas.blas_library import Routines

_I, _L, _P = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
_TRANS = 112


def _matrix(address: int, rows: int, columns: int, leading: int, real: Any) -> Any:
    if rows * columns == 0:
        return np.empty((rows, columns), real)
    count = (rows - 1) * leading + columns
    flat = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(real)), (count,))
    itemsize = flat.itemsize
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (leading * itemsize, itemsize))


def _gemm(real: Any) -> Any:
    """Return a C callback with the signature of ``cblas_?gemm`` that calls ``np.matmul``."""
    signature = ctypes.CFUNCTYPE(None, _I, _I, _I, _L, _L, _L, real, _P, _L, _P, _L, real, _P, _L)

    def gemm(
        _order: int,
        trans_a: int,
        trans_b: int,
        m: int,
        n: int,
        k: int,
        alpha: float,
        a: int,
        lda: int,
        b: int,
        ldb: int,
        beta: float,
        c: int,
        ldc: int,
    ) -> None:
        op_a = _matrix(a, k, m, lda, real).T if trans_a == _TRANS else _matrix(a, m, k, lda, real)
        op_b = _matrix(b, n, k, ldb, real).T if trans_b == _TRANS else _matrix(b, k, n, ldb, real)
        out = _matrix(c, m, n, ldc, real)
        if (alpha, beta) == (1, 0):
            np.matmul(op_a, op_b, out=out)
            return
        # Not out * 0: a NaN that is left in the buffer would stay NaN.
        out[:] = out * beta if beta != 0 else 0
        out += alpha * np.matmul(op_a, op_b)

    return signature(gemm)


class MatmulStandIn:
    """A substitute for ``Blas`` that offers only ``ROUTINES``.

    Attributes
    ----------
    path : str
        What is used in place of a library's file, for messages.
    """

    ROUTINES = ("gemm",)
    path = "numpy.matmul (NumPy's BLAS exports no usable symbol)"

    def __init__(self) -> None:
        self._callbacks = {"float32": _gemm(ctypes.c_float), "float64": _gemm(ctypes.c_double)}

    def routines(self, dtype: str) -> Routines:
        """Return the address of GEMM for ``dtype``; GEMV and GER are absent (0)."""
        address = ctypes.cast(self._callbacks[dtype], ctypes.c_void_p).value or 0
        return Routines(address, 0, 0, np.int64(0))
