"""The functions of cuBLAS that are called, with NumPy behind them and columns first."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from hpcpgd.kernels.core.network import Array

REALS = {0: (ctypes.c_float, np.float32), 1: (ctypes.c_double, np.float64)}
COMPUTE = {0: (68, 77), 1: (70,)}  # of float32: plain and TF32; of float64
FAST_TF32 = 77


def tf32(values: Array) -> Array:
    """Round float32 to the 10 bits of mantissa that TF32 keeps."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


class EmulatedLibrary:
    """Stands for ``libcublas``: same names, same arguments, same order."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self.stream: int | None = None
        self.workspace = 0
        self.products: list[tuple[int, ...]] = []

    def cublasCreate_v2(self, handle: Any) -> int:  # noqa: N802  # cuBLAS's name
        handle._obj.value = 4242
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: Any) -> int:  # noqa: N802  # cuBLAS's name
        assert handle.value == 4242
        self.stream, self.workspace = stream.value, 0
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, address: Any, nbytes: Any) -> int:  # noqa: N802  # cuBLAS's name
        assert address.value % 64 == 0
        self.workspace = nbytes.value
        return 0

    def cublasGemmEx(self, handle: Any, *arguments: Any) -> int:  # noqa: N802  # cuBLAS's name
        assert handle.value == 4242
        assert self.workspace
        plain = [a._obj if hasattr(a, "_obj") else a for a in arguments]
        # As cuBLAS does for a graph: scalars are taken now, matrices when it runs.
        values = [value.value for value in plain]
        assert isinstance(plain[5], REALS[values[7]][0])
        self.products.append((values[2], values[3], values[4]))
        self._device.do(lambda: _gemm(*values))
        return 0


def _matrix(address: int, rows: int, columns: int, leading: int, kind: int) -> Array:
    """Return the view of a matrix that is stored columns first."""
    real, dtype = REALS[kind]
    assert leading >= rows
    length = leading * (columns - 1) + rows
    flat = np.ctypeslib.as_array((real * length).from_address(address)).view(dtype)
    itemsize = np.dtype(dtype).itemsize
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (itemsize, leading * itemsize))


def _gemm(
    op_a: int, op_b: int, m: int, n: int, k: int, alpha: float,
    a: int, a_kind: int, lda: int, b: int, b_kind: int, ldb: int, beta: float,
    c: int, c_kind: int, ldc: int, compute: int, algorithm: int,
) -> None:  # fmt: skip
    assert a_kind == b_kind == c_kind
    assert compute in COMPUTE[c_kind]
    assert algorithm == -1
    left = _matrix(a, k, m, lda, a_kind).T if op_a else _matrix(a, m, k, lda, a_kind)
    right = _matrix(b, n, k, ldb, b_kind).T if op_b else _matrix(b, k, n, ldb, b_kind)
    out = _matrix(c, m, n, ldc, c_kind)
    if compute == FAST_TF32:
        left, right = tf32(left), tf32(right)
    with np.errstate(all="ignore"):  # a GPU does not complain
        total = alpha * (left @ right)
        out[:] = total if beta == 0 else total + beta * out
