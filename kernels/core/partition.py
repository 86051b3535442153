"""Divide a range as evenly as whole numbers allow."""

from __future__ import annotations

from hpcpgd.kernels.core.compiled import compiled

LANES = 16  # columns are cut at multiples of this: float32 numbers of a 64-byte register


def block_range(n: int, parts: int, part: int) -> tuple[int, int]:
    """Return ``(start, stop)`` of block ``part`` if ``range(n)`` is cut into ``parts``.

    The blocks cover ``range(n)`` in order; sizes differ by at most one, larger ones first.
    """
    size, extra = divmod(n, parts)
    start = part * size + min(part, extra)
    return start, start + size + (part < extra)


def columns_range(n: int, parts: int, part: int, lanes: int = LANES) -> tuple[int, int]:
    """Return block ``part`` of ``range(n)``, cut only at multiples of ``lanes``."""
    lines = -(-n // lanes)
    size, extra = lines // parts, lines % parts
    start = part * size + min(part, extra)
    stop = start + size + (1 if part < extra else 0)
    return min(start * lanes, n), min(stop * lanes, n)


def unit_block(
    shape: tuple[int, int], parts: int, tiles: int, unit: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rows and the columns, each (start, stop), of one unit of a matrix.

    The matrix's rows are cut into ``parts`` and its columns into ``tiles``.  Units are numbered
    row by row.
    """
    part, tile, lines = unit // tiles, unit % tiles, -(-shape[1] // LANES)
    height, more_rows = shape[0] // parts, shape[0] % parts
    width, more_lines = lines // tiles, lines % tiles
    top, left = part * height + min(part, more_rows), tile * width + min(tile, more_lines)
    bottom = top + height + (1 if part < more_rows else 0)
    right = left + width + (1 if tile < more_lines else 0)
    return (top, bottom), (min(left * LANES, shape[1]), min(right * LANES, shape[1]))


def padded_size(n: int) -> int:
    """Return ``n`` rounded up to a multiple of ``LANES``."""
    return -(-n // LANES) * LANES


# For compiled code.  Plans use the functions above, which need no compiled kernels.
cut = compiled()(columns_range)
block_of = compiled()(unit_block)
whole_lines = compiled()(padded_size)
