"""The keyed permutation: a bijection, the same as in plain Python, and well mixed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcpgd.kernels.core.permutation import permutation, permuted_range

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def one(n: int, seed: int, stream: int, epoch: int, i: int) -> int:
    """The permutation's definition in integers of unbounded size."""
    key = mix((seed + GOLDEN) & MASK)
    key = mix(key ^ ((stream + GOLDEN) & MASK))
    key = mix(key ^ ((epoch + GOLDEN) & MASK))
    width = max(6, (n - 1).bit_length())
    value = i
    while True:
        low = width - width // 2
        high = width // 2
        left, right = value >> low, value & ((1 << low) - 1)
        for r in range(6):
            scrambled = mix(right ^ ((key + (r + 1) * GOLDEN) & MASK))
            left, right = right, left ^ (scrambled & ((1 << high) - 1))
            low, high = high, low
        value = (left << low) | right
        if value < n:
            return value


@given(st.integers(1, 3000), st.integers(0, 2**62), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert np.array_equal(np.sort(permutation(n, seed, 6, epoch)), np.arange(n))


@given(st.integers(1, 2**40), st.integers(0, 2**62), st.integers(0, 2**31), st.data())
@settings(max_examples=60, deadline=None)
def test_agrees_with_plain_python(n: int, seed: int, epoch: int, data: st.DataObject) -> None:
    i = data.draw(st.integers(0, n - 1))
    out = np.empty(1, np.int64)
    permuted_range(n, seed, 6, epoch, i, out)
    assert out[0] == one(n, seed, 6, epoch, i)


def test_every_place_is_equally_likely() -> None:
    # 4,000 permutations of 10: each of 100 cells expects 400; chi-squared with 81
    # degrees of freedom exceeds 150 once in half a million times.
    cells = np.zeros((10, 10))
    for seed in range(4000):
        cells[np.arange(10), permutation(10, seed, 6)] += 1
    assert np.sum((cells - 400) ** 2 / 400) < 150


def test_neighbours_part() -> None:
    p = permutation(10_000, 0, 6, 1)
    assert abs(np.corrcoef(p[:-1], p[1:])[0, 1]) < 0.05
    assert abs(np.corrcoef(p, permutation(10_000, 0, 6, 2))[0, 1]) < 0.05
