"""Damage to bytes: of every format, and blind to what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

EXTREMES = (
    0, 1, 2, 0x7F, 0x80, 0xFF, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
WORDS = (1, 2, 4, 8)


def _flip(data: bytearray, at: int, how: int) -> None:
    data[at] ^= 1 << how % 8


def _set(data: bytearray, at: int, how: int) -> None:
    data[at] = how % 256


def _number(data: bytearray, at: int, how: int) -> None:
    """Write an extreme number of any width and byte order."""
    how, extreme = divmod(how, len(EXTREMES))
    width = WORDS[how // 2 % 4]
    value = EXTREMES[extreme] % 256**width
    data[at : at + width] = value.to_bytes(width, "little" if how % 2 else "big")


def _cut(data: bytearray, at: int, how: int) -> None:
    del data[at:]


def _drop(data: bytearray, at: int, how: int) -> None:
    del data[at : at + 1 + how % 64]


def _repeat(data: bytearray, at: int, how: int) -> None:
    data[at:at] = data[at : at + 1 + how % 4096]


def _splice(data: bytearray, at: int, how: int) -> None:
    start = how % len(data)
    piece = data[start : start + 1 + how % 63]
    data[at : at + len(piece)] = piece


def _blank(data: bytearray, at: int, how: int) -> None:
    end = min(len(data), at + 1 + how % 256)
    data[at:end] = bytes(end - at)


Damage = Callable[[bytearray, int, int], None]
KINDS: tuple[Damage, ...] = (
    _flip, _flip, _set, _number, _number, _cut, _drop, _repeat, _splice, _blank,
)  # fmt: skip
_one = st.tuples(st.sampled_from(KINDS), st.integers(0, 2**24), st.integers(0, 2**16))


def apply(data: bytes, damages: list[tuple[Damage, int, int]]) -> bytes:
    """Return the bytes after all damages."""
    found = bytearray(data)
    for damage, at, how in damages:
        if found:
            damage(found, at % len(found), how)
    return bytes(found)


def weighted(*kinds: tuple[int, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    """Draw from one of several strategies, each as often as its weight says."""
    every = [kind for weight, kind in kinds for _ in range(weight)]
    return st.sampled_from(every).flatmap(lambda kind: kind)


def damaged(data: SearchStrategy[bytes], most: int = 3, weight: int = 1) -> SearchStrategy[bytes]:
    """Damage bytes, or leave them as they are: one of 1 + ``weight``."""
    spoilt = st.builds(apply, data, st.lists(_one, min_size=1, max_size=most))
    return weighted((1, data), (weight, spoilt))
