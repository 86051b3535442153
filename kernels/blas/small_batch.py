"""Products with few rows of a minibatch, on processors with AVX-512.

A BLAS packs both factors, which pays if each number is used often.  For a small minibatch it
takes longer to pack the weights than to multiply them.  Here nothing is packed: the sums of a
block stay in registers, and the weights come from memory once.  Sums over K have one order,
whatever rows and columns are computed together.

Letters: M rows, N columns, K length of the sums.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding

from hpcpgd.kernels.blas.blas_library import Routines, gemm
from hpcpgd.kernels.blas.vector_blocks import HEIGHTS, SIDES, WIDTHS, add_block, set_block
from hpcpgd.kernels.core.arithmetic import VECTOR, fma
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array

AVAILABLE = bool(binding.get_host_cpu_features().get("avx512f", False))
# Up to so many rows of the minibatch, as M or as K, these products were faster than OpenBLAS's.
FEW, FEW_SUMMED = 128, 32
RATIO = 2  # of K to the rows, from which this holds if the right factor is transposed
DEPTH = 64  # rows of the right factor that stay in the L2 cache while rows of the left pass
SIDE = SIDES[0]

Transposed = tuple[bool, bool]


@compiled()
def is_small(transposed: Transposed, a: Array, c: Array) -> bool:
    """Return whether ``multiply`` is faster than a BLAS."""
    lanes = VECTOR // c.itemsize
    if transposed[0]:
        return a.shape[0] <= FEW_SUMMED and c.shape[1] >= lanes
    if transposed[1]:
        return c.shape[0] <= FEW and a.shape[1] >= max(lanes, RATIO * c.shape[0])
    return c.shape[0] <= FEW and c.shape[1] >= lanes


@compiled()
def _add_columns(transposed: bool, scales: Any, a: Array, b: Array, c: Array) -> int:
    """Compute the columns that fill whole vectors, and return their number.

    Blocks go along columns while ``DEPTH`` rows of b stay in the cache.  If a is transposed,
    c is the large matrix: 8 rows of it are completed before the next ones.
    """
    rows, vectors, depth = c.shape[0], c.shape[1] * c.itemsize // VECTOR, b.shape[0]
    strides = (a.itemsize, a.strides[0]) if transposed else (a.strides[0], a.itemsize)
    alpha, beta = c.dtype.type(scales[0]), c.dtype.type(scales[1])
    panel = HEIGHTS[0] if transposed else max(rows, 1)
    for top in range(0, rows, panel):
        for k in range(0, max(depth, 1), DEPTH):
            rest = min(DEPTH, depth - k), alpha, beta if k == 0 else c.dtype.type(1)
            for column in range(0, vectors, WIDTHS[0]):
                row, shift = top, column * VECTOR
                while row < min(top + panel, rows):
                    height = HEIGHTS[0]
                    while height > rows - row:
                        height //= 2
                    left = a.ctypes.data + row * strides[0] + k * strides[1], *strides
                    right = b.ctypes.data + k * b.strides[0] + shift, b.strides[0]
                    out = c.ctypes.data + row * c.strides[0] + shift, c.strides[0]
                    shape = height, min(vectors - column, WIDTHS[0])
                    add_block(alpha, shape, left, right, out, rest)
                    row += height
    return vectors * VECTOR // c.itemsize


@compiled()
def _set_products(a: Array, b: Array, c: Array) -> None:
    """Compute the products of the rows of a and of b; blocks of b's rows pass those of a."""
    vectors, zero = a.shape[1] * a.itemsize // VECTOR, c.dtype.type(0)
    column = 0
    while column < c.shape[1]:
        width = SIDE if column + SIDE <= c.shape[1] else 1
        row = 0
        while row < c.shape[0]:
            height = SIDE if row + SIDE <= c.shape[0] else 1
            left = a.ctypes.data + row * a.strides[0], a.strides[0]
            right = b.ctypes.data + column * b.strides[0], b.strides[0]
            out = c.ctypes.data + row * c.strides[0] + column * c.itemsize, c.strides[0]
            set_block(zero, (height, width), left, right, out, (vectors,))
            row += height
        column += width
    for k in range(vectors * VECTOR // c.itemsize, a.shape[1]):
        for i in range(c.shape[0]):
            for j in range(c.shape[1]):
                c[i, j] = fma(a[i, k], b[j, k], c[i, j])


@compiled()
def multiply(
    blas: Routines, transposed: Transposed, scales: Any, a: Array, b: Array, c: Array
) -> None:
    """Compute the same as ``blas_library.gemm``; if b is transposed, alpha is 1 and beta 0.

    The BLAS multiplies by the last columns of b, which fill no vector.
    """
    if transposed[1]:
        _set_products(a, b, c)
    else:
        done = _add_columns(transposed[0], scales, a, b, c)
        if done < c.shape[1]:
            gemm(blas, transposed, scales, a, b[:, done:], c[:, done:])
