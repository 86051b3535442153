"""A product of two matrices on tiles: blocks of the operands are packed, then multiplied.

Sums over K end at multiples of 1,024, and are added in this order: a single sum would lose
accuracy.  In each of them all products of small parts come first: while the sum is small, so
are its rounding errors.  This order is the same whatever rows and columns are computed together.

Letters: M rows, N columns, K length of the sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.tiles.amx import (
    BLOCK,
    SIDE,
    add_product,
    clear_sums,
    configure,
    release,
    store_sums,
)
from hpcpgd.kernels.tiles.packing import (
    FLOATS,
    PARTS,
    Factor,
    add_scaled_row,
    pack,
)

Pair = tuple[int, int]
DEPTH = 1024  # numbers along K of one sum
EXTENT = 1024  # rows or columns that are packed together
CACHED = 2**20  # bytes of packed columns that stay in the L2 cache while rows pass
SPARE = 2 * SIDE * SIDE  # float32 numbers


class Panels(NamedTuple):
    """A thread's memory.

    Attributes
    ----------
    blocks : ndarray of uint8
        For the packed factors, ``panel_bytes`` each; begins on a multiple of 64 bytes.
    spare : ndarray of float32
        For two squares of 32 x 32 numbers.
    """

    blocks: Array
    spare: Array


def panel_bytes(parts: int) -> int:
    """Return the bytes of the largest packed factor."""
    return EXTENT // SIDE * (DEPTH // SIDE) * parts * BLOCK


@compiled()
def _multiply_panels(left: int, right: int, steps: int, parts: Pair, sums: int) -> None:
    """Store the product of two panels: of parts i and j with i + j < PARTS, small ones first."""
    clear_sums()
    a, b = left, right
    for _ in range(steps if parts[1] == PARTS else 0):
        add_product(a, b + 2 * BLOCK)
        if parts[0] == PARTS:
            add_product(a + BLOCK, b + BLOCK)
            add_product(a + 2 * BLOCK, b)
            add_product(a + BLOCK, b)
        add_product(a, b + BLOCK)
        a += parts[0] * BLOCK
        b += parts[1] * BLOCK
    for _ in range(steps):
        add_product(left, right)
        left += parts[0] * BLOCK
        right += parts[1] * BLOCK
    store_sums(sums)


@compiled(inline=False)
def _multiply_packed(
    panels: Panels, steps: int, parts: Pair, shape: Pair, scales: Any, out: Pair
) -> None:
    """Add the product of packed factors, ``shape`` (M, N), to ``out``, its address and stride."""
    left, middle = panels.blocks.ctypes.data, panels.blocks.size // 2
    sizes = steps * parts[0] * BLOCK, steps * parts[1] * BLOCK
    sums = panels.spare[SIDE * SIDE :].ctypes.data
    width = max(CACHED // max(sizes[1], 1), 1) * SIDE
    for group in range(0, shape[1], width):
        for m in range(0, shape[0], SIDE):
            for n in range(group, min(group + width, shape[1]), SIDE):
                a, b = left + m // SIDE * sizes[0], left + middle + n // SIDE * sizes[1]
                _multiply_panels(a, b, steps, parts, sums)
                for i in range(min(shape[0] - m, SIDE)):
                    target = out[0] + (m + i) * out[1] + n * panels.spare.itemsize
                    add_scaled_row(sums + i * FLOATS, target, shape[1] - n, scales[0], scales[1])


@compiled()
def multiply(
    panels: Panels, parts: Pair, transposed: Any, scales: Any, a: Array, b: Array, c: Array
) -> None:
    """Compute ``c = alpha op(a) op(b) + beta c``, from ``parts`` of a and of b.

    ``transposed`` says for a and for b whether ``op`` transposes; ``scales`` are alpha and beta.
    All are matrices of float32 with contiguous rows; ``c`` is (M, N).
    """
    left = Factor(a.ctypes.data, a.strides[0], c.shape[0], transposed[0], True, parts[0])
    right = Factor(b.ctypes.data, b.strides[0], c.shape[1], not transposed[1], False, parts[1])
    depth = a.shape[0] if transposed[0] else a.shape[1]
    alpha, beta = c.dtype.type(scales[0]), c.dtype.type(scales[1])
    target, middle = panels.blocks.ctypes.data, panels.blocks.size // 2
    configure()
    for k in range(0, max(depth, 1), DEPTH):
        inner = k, min(k + DEPTH, depth)
        steps = -(-(inner[1] - k) // SIDE)
        for n in range(0, right.lines, EXTENT):
            columns = n, min(n + EXTENT, right.lines)
            pack(right, columns, inner, panels.spare, target + middle)
            for m in range(0, left.lines, EXTENT):
                rows = m, min(m + EXTENT, left.lines)
                pack(left, rows, inner, panels.spare, target)
                shape = rows[1] - m, columns[1] - n
                out = c.ctypes.data + m * c.strides[0] + n * c.itemsize, c.strides[0]
                _multiply_packed(panels, steps, parts, shape, (alpha, beta), out)
        beta = c.dtype.type(1)
    release()
