"""Divide a range as evenly as whole numbers allow."""

from __future__ import annotations


def block_range(n: int, parts: int, part: int) -> tuple[int, int]:
    """Return ``(start, stop)`` of block ``part`` when ``range(n)`` is cut into ``parts``.

    The blocks cover ``range(n)`` in order; sizes differ by at most one, larger ones first.
    """
    size, extra = divmod(n, parts)
    start = part * size + min(part, extra)
    return start, start + size + (part < extra)
