"""Tile products in NumPy, equal to those of a processor with AMX in every bit.

Intel's manual gives the order of TDPBF16PS: for each element one chain of fused multiply-adds
over the even numbers along K and one over the odd ones, both from zero.  Their sum is added to
the element.  Denormal numbers count as zero, before and after each operation, and all results
are rounded to nearest even.  `tests/kernels/test_tiles.py` compares every bit with the
instruction: on an Intel Xeon with AMX all are equal, but which NaN is returned is not compared.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

SIDE, DEPTH = 32, 1024
# A smaller result is zero: it is rounded first, but as if exponents had no limit.
TINY = np.float32(2.0**-126)
LEAST = 2.0**-126 * (1 - 2.0**-25)
Array = Any


def rounded(numbers: Array) -> Array:
    """Return float32 numbers rounded to bfloat16, to nearest even.

    NaN stays NaN, and denormal numbers become zero.
    """
    numbers = np.where(np.abs(numbers) < TINY, np.copysign(np.float32(0), numbers), numbers)
    bits = numbers.view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return np.where(np.isnan(numbers), numbers, bits.astype(np.uint32).view(np.float32))


def parts_of(numbers: Array, parts: int) -> list[Array]:
    """Return numbers as a sum of ``parts`` numbers in bfloat16, the largest first."""
    out = []
    for _ in range(parts):
        out.append(rounded(numbers))
        numbers = numbers - out[-1]
    return out


def flushed(numbers: Array) -> Array:
    """Return numbers rounded to float32, denormal ones as zeros of their sign."""
    zeros = np.copysign(np.float32(0), numbers.astype(np.float32))
    return np.where(np.abs(numbers) < LEAST, zeros, numbers.astype(np.float32))


def tile_product(sums: Array, left: Array, right: Array) -> Array:
    """Return sums (M, N) plus the product of (M, 32) and (32, N), all in bfloat16."""
    left, right = (flushed(part).astype(np.float64) for part in (left, right))
    chains = [np.zeros(sums.shape)] * 2
    for k in range(SIDE):
        # Exact in float64, but for numbers too far apart to change how the sum is rounded.
        chain = np.outer(left[:, k], right[k]) + chains[k % 2]
        chains[k % 2] = flushed(chain).astype(np.float64)
    total = flushed(chains[0] + chains[1]).astype(np.float64)
    return flushed(flushed(sums) + total)


def sum_of_products(left: Array, right: Array, parts: tuple[int, int]) -> Array:
    """Return the product of (M, K) and (K, N) for K up to ``DEPTH``, small parts first."""
    zeros = 0, -len(right) % SIDE  # behind both factors
    lefts = [np.pad(part, ((0, 0), zeros)) for part in parts_of(left, parts[0])]
    rights = [np.pad(part, (zeros, (0, 0))) for part in parts_of(right, parts[1])]
    sums = np.zeros((len(left), right.shape[1]), np.float32)
    order = [(0, 2), (0, 1), (1, 1), (1, 0), (2, 0)], [(0, 0)]
    for group, k in itertools.product(order, range(0, lefts[0].shape[1], SIDE)):
        step = slice(k, k + SIDE)
        for i, j in ((i, j) for i, j in group if i < parts[0] and j < parts[1]):
            sums = tile_product(sums, lefts[i][:, step], rights[j][step])
    return sums


def multiply(
    left: Array, right: Array, parts: tuple[int, int], scales: tuple[float, float], before: Array
) -> Array:
    """Return ``alpha left right + beta before`` in float32: (M, K), (K, N), (M, N)."""
    alpha, beta = (np.float32(scale) for scale in scales)
    with np.errstate(all="ignore"):
        for k in range(0, max(left.shape[1], 1), DEPTH):
            sums = sum_of_products(left[:, k : k + DEPTH], right[k : k + DEPTH], parts)
            before = before * beta if beta else np.zeros_like(before)
            exact = sums.astype(np.longdouble) * alpha + before  # rounded once, as a fused one
            before, beta = exact.astype(np.float32), np.float32(1)
    return before
