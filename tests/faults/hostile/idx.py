"""Hostile folders of IDX files, plain and gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from functools import cache

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.faults.hostile.damage import damaged, weighted
from tests.faults.hostile.format import Files

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

ROWS = 4
SIDES = st.sampled_from((1, 2, 3, 2, 1, 2, 0))
DIMENSIONS = st.sampled_from((0, 1, 2, 3, 255, 2**16, 2**31, 2**32 - 1))
BOMBS = (2**10, 2**16, 2**20)  # bytes of zeros


@cache
def _zeros(count: int) -> bytes:
    return bytes(count)


def _header(magic: tuple[int, int, int], shape: tuple[int, ...]) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", *magic, *shape)


def _good(shape: tuple[int, ...], values: bytes) -> bytes:
    return _header((0, 8, len(shape)), shape) + values


_images = st.builds(
    lambda rows, h, w: _good((rows, h, w), bytes(i * 7 % 256 for i in range(rows * h * w))),
    st.sampled_from((ROWS,) * 8 + (0, 1)), SIDES, SIDES,
)  # fmt: skip
_labels = st.builds(
    lambda values: _good((len(values),), bytes(values)),
    weighted(
        (5, st.just([0, 1, 2, 0])), (1, st.lists(st.sampled_from((0, 1, 2, 255)), max_size=5))
    ),
)
_shapes = st.one_of(
    st.lists(DIMENSIONS, max_size=4), st.integers(0, 255).map(lambda n: [1] * n)
).map(tuple)
_lies = st.builds(
    lambda two, kind, count, shape, values: (
        _header((two, kind, len(shape) if count is None else count), shape) + _zeros(values)
    ),
    st.sampled_from((0, 0, 0, 1, 0x1F8B)), st.sampled_from((8, 8, 8, 0, 9, 0x0B, 0x0D, 0xFF)),
    st.one_of(st.none(), st.integers(0, 255)), _shapes, st.sampled_from((0, 1, 4, 48, *BOMBS)),
)  # fmt: skip


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


PACKERS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: gzip.compress(data, 1, mtime=0),
    lambda data: gzip.compress(data, 1, mtime=0)[:-4],  # no length
    lambda data: gzip.compress(data[:20], 1, mtime=0) + gzip.compress(data[20:], 1, mtime=0),
    lambda data: gzip.compress(data, 1, mtime=0) + b"trailing",
    lambda data: gzip.compress(gzip.compress(data, 1, mtime=0), 1, mtime=0),
    lambda data: gzip.compress(data + _zeros(2**20), 1, mtime=0),
    lambda data: _deflated(data),  # raw, without gzip's header
)


RENAMED: tuple[Callable[[str], str], ...] = (
    *[lambda name: name] * 4,
    lambda name: f"emnist-letters-{name}".replace("t10k", "test"),
    lambda name: name.replace("-idx", ".idx"),
    lambda name: f"{len(name) % 2}-{name}",  # those of two datasets
)


def _file(name: str, honest: SearchStrategy[bytes]) -> SearchStrategy[Files]:
    """Return one file, good, lying or damaged, plain or packed."""
    content = damaged(weighted((7, honest), (1, _lies)), 2)
    plain = content.map(lambda data: {name: data})
    packed = damaged(
        st.builds(lambda data, pack: pack(data), content, st.sampled_from(PACKERS)), 1
    ).map(lambda data: {f"{name}.gz": data})
    return st.one_of(plain, packed)


def cases() -> SearchStrategy[Files]:
    """Return folders; now and then a file is missing."""
    kinds = [
        _file(name, honest)
        for names in FILES.values()
        for name, honest in zip(names, (_images, _labels), strict=True)
    ]
    some = st.sampled_from([(0, 1)] * 12 + [(0, 1, 2, 3)] * 6 + [(0,), (0, 1, 3)])
    folders = some.flatmap(lambda numbers: st.tuples(*[kinds[n] for n in numbers]))
    return st.builds(
        lambda files, rename: {rename(name): data for file in files for name, data in file.items()},
        folders, st.sampled_from(RENAMED),
    )  # fmt: skip
