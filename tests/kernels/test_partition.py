"""Blocks cover a range, in order, as evenly as whole numbers allow."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hpcpgd.kernels.core.partition import block_range


@given(st.integers(0, 10**12), st.integers(1, 300))
def test_cover_and_balance(n: int, parts: int) -> None:
    blocks = [block_range(n, parts, part) for part in range(parts)]
    assert blocks[0][0] == 0
    assert blocks[-1][1] == n
    assert all(a[1] == b[0] for a, b in itertools.pairwise(blocks))
    sizes = [stop - start for start, stop in blocks]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
