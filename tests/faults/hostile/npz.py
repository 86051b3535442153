"""Hostile ``.npz`` archives."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
from functools import cache

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from hpcpgd.data.array_names import KEYS
from tests.faults.hostile.damage import damaged, weighted
from tests.faults.hostile.format import Files

DTYPES = (
    "<f4", ">f4", "<f8", ">f8", "|u1", "<i4", ">i8", "<u8", "<f2", "<f16", "|b1", "|O", "<c8",
    "<U4", "|S3", "<M8[s]", "|V7", "<i0", "a4", "f", "?", "<f3", "x", "",
)  # fmt: skip
STRUCTURED = ("[('a', '<f4')]", "[('a', '|O')]", "[('a', '<f4', (2**40,))]", "{'names': ['a']}")
LITERALS = (
    "", "{", "{}", "[]", "None", "{'descr': '<f4'}", "(" * 90, "[" * 9000, "-" * 5000 + "1",
    "{'descr': '<f4', 'fortran_order': 1, 'shape': (4, 2)}", "'" + "a" * 20_000,
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4L, 2L)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': [4, 2]}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (0x" + "f" * 5000 + ",)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), 'x': 1}",
    "__import__('os').abort()", "\x00", "{**{}}", "{'a': 1}\x1b[2J", "lambda: 0", "f'{1}'",
    "{'descr': '\\x1b[2J', 'fortran_order': False, 'shape': ()}", "{1: 2, 'descr': 3}", "b'\\d'",
    "1 if 1 else 2", "0777", "'\\d'", "1is 1",
    "{'descr': ('<f4', (2,)), 'shape': (), 'fortran_order': True}",
)  # fmt: skip
SIZES = (0, 1, 2, 4, -1, -4, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30)


def _member(version: tuple[int, int], header: str, length: int | None, body: bytes) -> bytes:
    """Return an NPY file; ``length`` is that of the header, None the true one."""
    text = header.encode("utf-8" if version >= (3, 0) else "latin-1", "replace") + b"\n"
    size = len(text) if length is None else length
    width = "<H" if version == (1, 0) else "<I"
    return (
        b"\x93NUMPY" + bytes(version) + struct.pack(width, size % 2 ** (8 * struct.calcsize(width)))
        + text + body
    )  # fmt: skip


def _honest(array: np.ndarray) -> bytes:
    image = io.BytesIO()
    np.lib.format.write_array(image, array, allow_pickle=array.dtype.hasobject)
    return image.getvalue()


def _literal(descr: str, fortran: bool, shape: list[int]) -> str:
    told = descr if descr in STRUCTURED else repr(descr)
    return f"{{'descr': {told}, 'fortran_order': {fortran}, 'shape': {(*shape,)}}}"


_versions = st.sampled_from(((1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (255, 255)))
_lies = st.builds(
    _member, _versions,
    st.one_of(
        st.sampled_from(LITERALS),
        st.builds(
            _literal, st.sampled_from((*DTYPES, *STRUCTURED)), st.booleans(),
            st.lists(st.sampled_from(SIZES), max_size=3),
        ),
    ),
    st.sampled_from((None, None, None, 0, 1, 2**16 - 1, 2**32 - 1)),
    st.sampled_from((0, 1, 4, 32, 64, 2**20)).map(bytes),
)  # fmt: skip
_pickles = st.sampled_from((
    pickle.dumps([1]), _honest(np.array([None, "a"], object)), b"cos\nabort\n(tR.",
    _honest(np.array([(1, None)], [("a", "i4"), ("b", object)])),
))  # fmt: skip


@cache
def _features(dtype: str, order: str, columns: tuple[int, ...], rows: int) -> bytes:
    values = np.arange(rows * int(np.prod(columns)), dtype=float) % 256
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        return _honest(np.asarray(values.reshape(rows, *columns), dtype, order=order))  # type: ignore[call-overload]  # on purpose


_x = st.builds(
    _features,
    st.sampled_from(("<f4", ">f4", "<f8", "|u1", ">f8", "<f2", "<i4", "|b1", ">u8", "<i2")),
    st.sampled_from(("C", "F")), st.sampled_from((*[(2,)] * 6, (2, 1), (0,), ())),
    st.sampled_from((*[4] * 8, 0, 1)),
)  # fmt: skip
_y = st.sampled_from([
    _honest(array) for array in (
        *[np.array([0, 1, 2, 0],
        f"{order}{kind}{size}") for order in "<>" for kind in "iu" for size in "148"],
        np.eye(4), np.eye(4, dtype=bool), np.eye(4)[:, :3], np.array([[0], [1], [1], [0]]),
        np.zeros(4, int),
        np.array([0, 1, 2**63, 2**64 - 1], "u8"), np.array([0, -1, 1, -(2**63)]), np.zeros((4, 0),
        int),
        np.array([0.0, 1.0, np.nan, 1.0]), np.full((4, 2), np.nan), np.array(3), np.zeros(0, int),
        np.array([0, 1, 2, 0], "f16"), np.asfortranarray(np.eye(4)),
        np.array([0.0, 1.0, 2.0, 0.0]), np.array(["a", "b", "a", "c"]),
        np.array([b"a", b"\xff"] * 2),
        np.array(["a", "b", "", "\x1b"]), np.full(4, 2**32 - 1, "u4").view("U1"),
        np.array([1, 5, 5, 2**63], "u8"), np.array([-1, 1, 1, -1]),
        np.array(["a", "b", "a"], ">U9"),
    )
])  # fmt: skip
_names = st.sampled_from((
    *KEYS, "x_train", "y_train", "", "../x_train", "x_train\n", "\x1b[2J", "é" * 30_000, "X_train",
    "train_images", "test_labels", "arr_0", "arr_1", "arr_9", "class_names", "notes",
))  # fmt: skip
PACKINGS = (
    *[zipfile.ZIP_STORED] * 4, *[zipfile.ZIP_DEFLATED] * 4, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA,
)  # fmt: skip


def _archive(members: list[tuple[str, bytes]], packing: int, suffix: str, sizes: int) -> bytes:
    image = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(image, "w", packing) as archive:
        warnings.simplefilter("ignore")  # names that stand twice
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name + suffix), data, packing)
        for info in archive.filelist if sizes else ():
            info.file_size = max(0, info.file_size + sizes)  # in the directory at the end
    return image.getvalue()


def cases() -> SearchStrategy[Files]:
    """Return one archive each."""
    names = st.sampled_from((
        ("x_train", "y_train"), ("x_train", "y_train"), ("X", "y"), ("arr_0", "arr_1"),
        ("trainImages", "train-labels"),
    ))  # fmt: skip
    good = st.builds(lambda pair, x, y: [(pair[0], x), (pair[1], y)], names, _x, _y)
    spoilt = st.builds(
        lambda pair, at, data: [(name, data if at == n else old) for n, (name,
        old) in enumerate(pair)],
        good, st.integers(0, 1), weighted((4, _lies), (1, _pickles), (2, damaged(_x, 2))),
    )  # fmt: skip
    more = st.lists(st.tuples(_names, st.one_of(_x, _y, _lies, _pickles)), max_size=3)
    members = weighted((4, good), (4, spoilt), (2, st.builds(list.__add__, good, more)), (1, more))
    content = st.builds(
        _archive, members, st.sampled_from(PACKINGS), st.sampled_from((".npy", ".npy", ".npy", "")),
        st.sampled_from((*[0] * 12, 1, -1, 2**31, 2**40)),
    )  # fmt: skip
    return damaged(content, 2).map(lambda data: {"data.npz": data})
