"""A keyed permutation of ``range(n)`` of which each entry is computed independently.

A Feistel network permutes the integers of ``width`` bits, enough for ``n``.  A value outside
``range(n)`` passes through the network again until it is inside ("cycle walking"), which
keeps the map a permutation of ``range(n)``.  Time and memory per entry are constant.  So a
billion rows need no permutation array, and any rank can compute any part of any step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpcpgd.kernels.core.compiled import compiled

ROUNDS = 6  # even, so that halves of unequal width return to their positions
MIN_WIDTH = 6  # bits: smaller domains mix badly, and cycle walking in 64 values is cheap

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_ONE = np.uint64(1)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@compiled()
def _mix(x: np.uint64) -> np.uint64:
    """Mix 64 bits (the finaliser of SplitMix64)."""
    x = (x ^ (x >> _S30)) * _MIX1
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@compiled()
def _key(seed: int, stream: int, epoch: int) -> np.uint64:
    key = _mix(np.uint64(seed) + _GOLDEN)
    key = _mix(key ^ (np.uint64(stream) + _GOLDEN))
    return _mix(key ^ (np.uint64(epoch) + _GOLDEN))


@compiled()
def _feistel(value: np.uint64, width: np.uint64, key: np.uint64) -> np.uint64:
    """Return ``value`` after one pass through the network over integers of ``width`` bits."""
    left_bits = width // np.uint64(2)
    right_bits = width - left_bits
    left = value >> right_bits
    right = value & ((_ONE << right_bits) - _ONE)
    for r in range(ROUNDS):
        scrambled = _mix(right ^ (key + np.uint64(r + 1) * _GOLDEN))
        new_right = left ^ (scrambled & ((_ONE << left_bits) - _ONE))
        left, right = right, new_right
        left_bits, right_bits = right_bits, left_bits
    return (left << right_bits) | right


@compiled()
def permuted_range(
    n: int, seed: int, stream: int, epoch: int, start: int, out: npt.NDArray[np.int64]
) -> None:
    """Write entries ``start … start + out.size - 1`` of the permutation of ``range(n)``.

    Parameters
    ----------
    n : int
        Size of the domain, at least ``start + out.size``.
    seed, stream, epoch : int
        The key: three non-negative integers below 2**63.
    start : int
        First position.
    out : ndarray of int64, shape (count,)
        Receives the permuted values.
    """
    bits = np.uint64(MIN_WIDTH)
    while (_ONE << bits) < np.uint64(n):
        bits += _ONE
    key = _key(seed, stream, epoch)
    for i in range(out.size):
        value = _feistel(np.uint64(start + i), bits, key)
        while value >= np.uint64(n):
            value = _feistel(value, bits, key)
        out[i] = np.int64(value)


def key(seed: int, stream: int, epoch: int) -> int:
    """Return the 64 bits from which the network's rounds take their keys."""
    return int(_key(seed, stream, epoch))


def width(n: int) -> int:
    """Return the bits of the integers that the network permutes for ``range(n)``."""
    return max(MIN_WIDTH, (n - 1).bit_length())


def permutation(n: int, seed: int, stream: int, epoch: int = 0) -> npt.NDArray[np.int64]:
    """Return the whole permutation of ``range(n)`` under the key, int64, shape (n,)."""
    out = np.empty(n, np.int64)
    permuted_range(n, seed, stream, epoch, 0, out)
    return out
