"""Operands of tile products: float32 matrices split into bfloat16 parts, in the order of blocks.

A number is the sum of its *parts*: the first is the number rounded to bfloat16, the next is
what remains, rounded, and so on.  Three parts have the precision of float32, as each has 8 bits.

An operand is packed in panels of 32 rows of the left factor, or 32 columns of the right one.
A panel has a block for every 32 numbers along K and every part.  Beyond the matrix its numbers
are zero, in both factors: zero times Inf would be NaN.

A word of a block is a pair of numbers that follow each other along K.  In a block of the left
factor the words of a row of the product follow each other; in a block of the right factor the
words of all columns do.  The two orders are each other's transposes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hpcpgd.kernels.core.arithmetic import fused
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.tiles.amx import BLOCK, SIDE, TILE, emitting, place_at

PARTS = 3  # with which a product has the accuracy of float32
ROW = SIDE // 2 * 4  # bytes of a tile's row: 16 words
FLOATS = SIDE * 4  # bytes of 32 float32 numbers

_WORD, _NUMBER, _LANES = ir.IntType(32), ir.FloatType(), 16
_NUMBERS, _WORDS = ir.VectorType(_NUMBER, _LANES), ir.VectorType(_WORD, _LANES)


def _lanes(values: Any) -> Any:
    return ir.Constant(_WORDS, [ir.Constant(_WORD, value) for value in values])


def _all(value: int) -> Any:
    return _lanes([value] * _LANES)


def _load(builder: Any, address: Any, distance: int = 0) -> Any:
    return builder.load(place_at(builder, address, distance, _NUMBERS), align=4)


def _rounded(builder: Any, numbers: Any) -> Any:
    """Return words with the bits of numbers rounded to bfloat16, to nearest even.

    NaN stays NaN; denormal numbers become zero, as which tiles take them.
    """
    kind = ir.FunctionType(ir.VectorType(ir.IntType(16), _LANES), [_NUMBERS])
    name = "llvm.x86.avx512bf16.cvtneps2bf16.512"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.zext(builder.call(function, [numbers]), _WORDS)


def _store_words(builder: Any, parts: Any, target: Any, pair: list[Any], part: int = 0) -> None:
    """Store the parts of 16 pairs of numbers, first and second ones, ``BLOCK`` apart."""
    bits = [_rounded(builder, numbers) for numbers in pair]
    words = builder.or_(bits[0], builder.shl(bits[1], _all(16)))
    builder.store(words, place_at(builder, target, part * BLOCK, _WORDS), align=ROW)
    if part + 1 < PARTS:
        with builder.if_then(builder.icmp_signed(">", parts, ir.Constant(parts.type, part + 1))):
            upper = [builder.shl(vector, _all(16)) for vector in bits]
            rounded = [builder.bitcast(vector, _NUMBERS) for vector in upper]
            rest = [builder.fsub(x, r) for x, r in zip(pair, rounded, strict=True)]
            _store_words(builder, parts, target, rest, part + 1)


def _pack_numbers(builder: Any, source: Any, parts: Any, target: Any) -> None:
    halves = [_load(builder, source, half * ROW) for half in range(2)]
    masks = [_lanes(range(first, 2 * _LANES, 2)) for first in range(2)]
    pair = [builder.shuffle_vector(*halves, mask) for mask in masks]
    _store_words(builder, parts, target, pair)


def _pack_columns(builder: Any, source: Any, stride: Any, parts: Any, target: Any) -> None:
    rows = source, builder.add(source, stride)
    _store_words(builder, parts, target, [_load(builder, row) for row in rows])


def _exchange(builder: Any, rows: list[Any], step: int) -> list[Any]:
    """Exchange, in each pair of rows ``step`` apart, the words that are ``step`` columns apart."""
    lanes = range(_LANES)
    lower = _lanes(lane - step + _LANES if lane & step else lane for lane in lanes)
    upper = _lanes(lane + _LANES if lane & step else lane + step for lane in lanes)
    out = list(rows)
    for row in (row for row in lanes if not row & step):
        pair = rows[row], rows[row + step]
        out[row], out[row + step] = (builder.shuffle_vector(*pair, m) for m in (lower, upper))
    return out


def _transpose_tile(builder: Any, tile: Any) -> None:
    places = [place_at(builder, tile, row * ROW, _WORDS) for row in range(_LANES)]
    rows = [builder.load(place, align=ROW) for place in places]
    for step in (8, 4, 2, 1):
        rows = _exchange(builder, rows, step)
    for row, place in zip(rows, places, strict=True):
        builder.store(row, place, align=ROW)


def _scale(builder: Any, places: list[Any], alpha: Any, beta: Any, name: str) -> None:
    sums, before = (builder.load(place, align=4) for place in places)
    zero = ir.Constant(beta.type, None)
    # Not 0 times the target: a NaN that is left in the buffer would stay NaN.
    is_zero = builder.fcmp_ordered("==", beta, zero)
    before = builder.select(is_zero, zero, builder.fmul(before, beta))
    builder.store(fused(builder, sums, alpha, before, name), places[1], align=4)


def _scale_row(builder: Any, sums: Any, target: Any, count: Any, alpha: Any, beta: Any) -> None:
    whole = builder.icmp_signed(">=", count, ir.Constant(count.type, SIDE))
    with builder.if_else(whole) as (then, otherwise):
        with then:
            none = ir.Constant(_NUMBERS, None)
            first = [builder.insert_element(none, x, ir.Constant(_WORD, 0)) for x in (alpha, beta)]
            scales = [builder.shuffle_vector(vector, none, _all(0)) for vector in first]
            for half in range(2):
                places = [place_at(builder, at, half * ROW, _NUMBERS) for at in (sums, target)]
                _scale(builder, places, scales[0], scales[1], f"v{_LANES}f32")
        with otherwise, cgutils.for_range(builder, count) as loop:
            distance = builder.mul(loop.index, ir.Constant(count.type, 4))
            ends = [builder.add(address, distance) for address in (sums, target)]
            places = [place_at(builder, address, 0, _NUMBER) for address in ends]
            _scale(builder, places, alpha, beta, "f32")


@intrinsic
def add_scaled_row(
    typingctx: Any, sums: Any, target: Any, count: Any, alpha: Any, beta: Any
) -> Any:
    """Replace up to 32 numbers at ``target`` by ``alpha sums + beta target``."""
    return emitting(_scale_row, *[types.int64] * 3, types.float32, types.float32)


@intrinsic
def _pack_row(typingctx: Any, source: Any, parts: Any, target: Any) -> Any:
    """Store the parts of 32 numbers as a tile's row, each part ``BLOCK`` after the one before."""
    return emitting(_pack_numbers, *[types.int64] * 3)


@intrinsic
def _pack_pairs(typingctx: Any, source: Any, stride: Any, parts: Any, target: Any) -> Any:
    """Store the parts of 16 columns of two rows in the same way, as pairs."""
    return emitting(_pack_columns, *[types.int64] * 4)


@intrinsic
def _transpose(typingctx: Any, tile: Any) -> Any:
    """Transpose the 16 x 16 words of a tile in place."""
    return emitting(_transpose_tile, types.int64)


class Factor(NamedTuple):
    """A factor of a product: a matrix of float32 at an address.

    Attributes
    ----------
    address, stride : int
        Of the first row, and the distance of rows in bytes.
    lines : int
        Rows of the product if this is the left factor, else columns.
    across : bool
        Whether columns of the matrix are along K, and not rows.
    left : bool
    parts : int
        1 or ``PARTS``.
    """

    address: int
    stride: int
    lines: int
    across: bool
    left: bool
    parts: int


@compiled()
def _square(factor: Factor, line: int, k: int, ends: tuple[int, int], spare: Array) -> Any:
    """Return address and stride of up to 32 x 32 numbers, with zeros from ``ends`` on."""
    count, depth = min(ends[0] - line, SIDE), min(ends[1] - k, SIDE)
    rows, columns = (depth, count) if factor.across else (count, depth)
    top, left = (k, line) if factor.across else (line, k)
    source = factor.address + top * factor.stride + left * spare.itemsize
    if rows == SIDE and columns == SIDE:
        return source, factor.stride
    one, zero = spare.dtype.type(1), spare.dtype.type(0)
    for j in range(SIDE * SIDE):
        spare[j] = zero
    for i in range(rows):
        target = spare.ctypes.data + i * FLOATS
        add_scaled_row(source + i * factor.stride, target, columns, one, zero)
    return spare.ctypes.data, FLOATS


@compiled(inline=False)
def _pack_block(source: int, stride: int, parts: int, across: bool, target: int) -> None:
    """Split 32 x 32 numbers into blocks; with ``across`` words are pairs of two rows."""
    for line in range(0, SIDE, 2):
        for half in range(2):
            if across:
                place = target + half * TILE + line // 2 * ROW
                _pack_pairs(source + line * stride + half * ROW, stride, parts, place)
            else:
                _pack_row(source + (line + half) * stride, parts, target + (line + half) * ROW)


@compiled()
def pack(
    factor: Factor, lines: tuple[int, int], inner: tuple[int, int], spare: Array, target: int
) -> None:
    """Pack the numbers ``inner`` along K of some ``lines``, (start, stop).

    ``spare`` has room for 32 x 32 numbers; ``target`` is the address of the first block.
    """
    across, size = factor.across, factor.parts * BLOCK
    counts = -(-(lines[1] - lines[0]) // SIDE), -(-(inner[1] - inner[0]) // SIDE)
    for block in range(counts[0] * counts[1]):
        # Along the rows of the matrix, as memory is fastest in this order.
        panel, step = block // counts[1], block % counts[1]
        if across:
            panel, step = block % counts[0], block // counts[0]
        line, k = lines[0] + panel * SIDE, inner[0] + step * SIDE
        source, stride = _square(factor, line, k, (lines[1], inner[1]), spare)
        place = target + (panel * counts[1] + step) * size
        _pack_block(source, stride, factor.parts, across, place)
        if across == factor.left:
            for tile in range(2 * factor.parts):
                _transpose(place + tile * TILE)
