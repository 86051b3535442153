"""A product of two matrices on tiles: blocks of the operands are packed, then multiplied.

Sums over K end at multiples of 1,024, and are added in this order: a single sum would lose
accuracy.  In each of them all products of small parts come first: while the sum is small, so
are its rounding errors.  This order is the same whatever rows and columns are computed together.

Letters: M rows, N columns, K length of the sums.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import ACTIVATION, Completion, complete
from hpcpgd.kernels.core.network import SOFTMAX, Array
from hpcpgd.kernels.tiles.amx import (
    BLOCK,
    SIDE,
    add_product,
    clear_sums,
    configure,
    load_left,
    load_right,
    load_sums,
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
EXTENT = 1024  # rows or columns that are packed together, at most
CACHED = 2**20  # bytes of packed columns that stay in the L2 cache while rows pass
CHUNK = 16  # blocks along K of a panel of rows that stay in the L1 cache while columns pass
HEIGHT = 256  # rows that are packed together if they are needed once
SQUARE = SIDE * FLOATS  # bytes of the sums of 32 x 32 numbers
SPARE = (1 + EXTENT // SIDE) * SIDE * SIDE  # float32 numbers


class Panels(NamedTuple):
    """A thread's memory.

    Attributes
    ----------
    blocks : ndarray of uint8
        ``panel_bytes`` for the packed factors; begins on a multiple of 64 bytes.
    spare : ndarray of float32
        ``SPARE`` numbers: for a square of 32 x 32 of a factor, and for squares of sums.
    """

    blocks: Array
    spare: Array


class Piece(NamedTuple):
    """A product of packed factors.

    Attributes
    ----------
    left, right : int
        Addresses of the factors.
    steps : int
        Blocks along K.
    parts : (int, int)
        Of each factor.
    shape : (int, int)
        M and N.
    scales : (float, float)
        alpha and beta.
    out : (int, int)
        Address of the output, and the distance of its rows in bytes.
    """

    left: int
    right: int
    steps: int
    parts: Pair
    shape: Pair
    scales: Any
    out: Pair


def panel_bytes(parts: int) -> int:
    """Return the bytes of packed columns and packed rows."""
    return CACHED + EXTENT // SIDE * (DEPTH // SIDE) * parts * BLOCK


@compiled()
def _add_small(left: int, right: int, steps: int, parts: Pair) -> None:
    """Add the products of parts i and j, one of them not the first, with i + j < PARTS."""
    for _ in range(steps):
        load_left(left)
        load_right(right + 2 * BLOCK)
        add_product()
        load_right(right + BLOCK)
        add_product()
        if parts[0] == PARTS:
            load_left(left + BLOCK)
            add_product()
            load_right(right)
            add_product()
            load_left(left + 2 * BLOCK)
            add_product()
        left += parts[0] * BLOCK
        right += parts[1] * BLOCK


@compiled()
def _add_first(left: int, right: int, steps: int, parts: Pair) -> None:
    """Add the products of the first parts."""
    for _ in range(steps):
        load_left(left)
        load_right(right)
        add_product()
        left += parts[0] * BLOCK
        right += parts[1] * BLOCK


@compiled()
def _output(piece: Piece, sums: int, m: int, n: int) -> None:
    """Add the scaled sums of the square at row ``m`` and column ``n`` to the output."""
    for i in range(min(piece.shape[0] - m, SIDE)):
        target = piece.out[0] + (m + i) * piece.out[1] + n * FLOATS // SIDE
        count = piece.shape[1] - n
        add_scaled_row(sums + i * FLOATS, target, count, piece.scales[0], piece.scales[1])


@compiled()
def _multiply_row(piece: Piece, sums: int, m: int) -> None:
    """Multiply the panel at row ``m`` by all panels of columns.

    It passes them chunk by chunk along K, each of which stays in the L1 cache meanwhile.  The
    sums of a square are stored and loaded again between chunks, which changes no bit.  Of
    several parts each block is used several times, so that chunks would not pay.
    """
    steps, parts = piece.steps, piece.parts
    chunks = max(-(-steps // CHUNK), 1) if parts[1] == 1 else 1
    depth = max(-(-steps // chunks), 1)
    for k in range(0, max(steps, 1), depth):
        left = piece.left + (m // SIDE * steps + k) * parts[0] * BLOCK
        for n in range(0, piece.shape[1], SIDE):
            place = sums if chunks == 1 else sums + n // SIDE * SQUARE
            right = piece.right + (n // SIDE * steps + k) * parts[1] * BLOCK
            if k == 0:
                clear_sums()
            else:
                load_sums(place)
            if parts[1] == PARTS:
                _add_small(left, right, steps, parts)
            _add_first(left, right, min(depth, steps - k), parts)
            store_sums(place)
            if k + depth >= steps:
                _output(piece, place, m, n)


@compiled(inline=False)
def _multiply_packed(
    piece: Piece, sums: int, task: Completion, completes: bool, corner: Pair
) -> None:
    """Add the product of packed factors to the output, and complete it if ``completes``.

    ``corner`` is the row and column of the whole product at which the piece begins.
    """
    rows, columns = piece.shape
    for m in range(0, rows, SIDE):
        _multiply_row(piece, sums, m)
        if completes:
            bottom, end = corner[0] + min(m + SIDE, rows), corner[1] + columns
            complete(task, (corner[0] + m, bottom), (corner[1], end))


@compiled()
def _extents(columns: int, steps: int, parts: int) -> Pair:
    """Return how many rows, and how many of ``columns``, are packed together.

    Columns stay in the L2 cache while rows pass.  If these are all, rows pass only once.
    """
    panels = -(-columns // SIDE)
    groups = -(-panels // max(CACHED // max(steps * parts * BLOCK, 1), 1))
    width = min(max(-(-panels // max(groups, 1)), 1) * SIDE, EXTENT)
    return EXTENT if columns > width else HEIGHT, width


@compiled()
def multiply(
    panels: Panels, parts: Pair, how: Any, task: Completion, a: Array, b: Array, c: Array
) -> None:
    """Compute ``c = alpha op(a) op(b) + beta c``, from ``parts`` of a and of b; complete it.

    ``how`` says for a and for b whether ``op`` transposes, and gives alpha and beta.  All are
    matrices of float32 with contiguous rows; ``c`` is (M, N).
    """
    transposed, scales = how
    left = Factor(a.ctypes.data, a.strides[0], c.shape[0], transposed[0], True, parts[0])
    right = Factor(b.ctypes.data, b.strides[0], c.shape[1], not transposed[1], False, parts[1])
    depth = a.shape[0] if transposed[0] else a.shape[1]
    alpha, beta = c.dtype.type(scales[0]), c.dtype.type(scales[1])
    columns_at, sums = panels.blocks.ctypes.data, panels.spare[SIDE * SIDE :].ctypes.data
    rows_at = columns_at + CACHED
    waits = task.kind == ACTIVATION and task.code == SOFTMAX  # needs all columns
    configure()
    for k in range(0, max(depth, 1), DEPTH):
        inner = k, min(k + DEPTH, depth)
        steps, completes = -(-(inner[1] - k) // SIDE), inner[1] == depth and not waits
        height, width = _extents(right.lines, steps, parts[1])
        for n in range(0, right.lines, width):
            columns = n, min(n + width, right.lines)
            pack(right, columns, inner, panels.spare, columns_at)
            for m in range(0, left.lines, height):
                rows = m, min(m + height, left.lines)
                if n == 0 or left.lines > height:
                    pack(left, rows, inner, panels.spare, rows_at)
                shape = rows[1] - m, columns[1] - n
                out = c.ctypes.data + m * c.strides[0] + n * c.itemsize, c.strides[0]
                piece = Piece(rows_at, columns_at, steps, parts, shape, (alpha, beta), out)
                _multiply_packed(piece, sums, task, completes, (m, n))
        beta = c.dtype.type(1)
    release()
    if waits:
        complete(task, (0, c.shape[0]), (0, c.shape[1]))
