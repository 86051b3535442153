""".npz files, and the checks on arrays that all formats share."""

from __future__ import annotations

import io
import pickle
import re
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcpgd.data import guard, load
from hpcpgd.data.dataset import RawData
from hpcpgd.environment import memory_limits
from hpcpgd.errors import DataError

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0, 1, 2, 0, 1, 2])


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, allow_pickle=True, **{"x_train": X, "y_train": Y, **arrays})
    return path


def read(path: Path) -> RawData:
    return load(str(path), seed=0)


def refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_all_splits(tmp_path: Path, compress: object) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 5), np.uint8)
    labels = np.arange(9) % 3
    path = tmp_path / "all.NPZ"
    arrays = {
        f"{a}_{p}": v[i : i + 3]
        for i, p in ((0, "train"), (3, "validation"), (6, "test"))
        for a, v in (("x", images), ("y", labels))
    }
    with path.open("wb") as file:
        compress(file, **arrays)  # type: ignore[operator]  # savez or savez_compressed
    raw = read(path)
    assert raw.validation is not None
    assert raw.test is not None
    for split, i in ((raw.train, 0), (raw.validation, 3), (raw.test, 6)):
        np.testing.assert_array_equal(split.features, images[i : i + 3].reshape(3, 20))
        np.testing.assert_array_equal(split.labels, labels[i : i + 3])
        assert split.labels.dtype == np.int32
    assert raw.scale == 1 / 255


@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_dtypes_and_orders(tmp_path: Path, dtype: str, order: Literal["C", "F"]) -> None:
    raw = read(save(tmp_path, x_train=X.astype(dtype, order=order)))
    assert raw.train.features.dtype == np.dtype(dtype).newbyteorder("=")
    assert raw.train.features.flags.c_contiguous
    np.testing.assert_array_equal(raw.train.features, X)
    assert raw.scale == (1 / 255 if dtype == "u1" else 1)


@pytest.mark.parametrize(
    "labels",
    [
        Y.astype(">i8"),
        Y.astype(np.uint64),
        Y[:, None],
        np.eye(3)[Y],
        np.eye(3, dtype=bool)[Y],
        np.eye(3, dtype=np.uint8)[Y],
    ],
)
def test_forms_of_labels(tmp_path: Path, labels: np.ndarray) -> None:
    raw = read(save(tmp_path, y_train=labels))
    np.testing.assert_array_equal(raw.train.labels, Y)
    assert raw.n_out == 3


def test_one_hot_states_classes_that_do_not_occur(tmp_path: Path) -> None:
    assert read(save(tmp_path, y_train=np.eye(5)[Y])).n_out == 5


BAD = [
    ({"y_train": Y * 0}, "every row has label 0, expected 2 classes or more"),
    ({"y_train": Y * 0 + 3}, "every row has label 3, expected 2 classes or more"),
    ({"y_train": Y / 2}, "label 0.5 at row 1 (counted from 0), expected whole numbers"),
    ({"y_train": np.where(Y == 1, np.nan, Y)}, "label nan at row 1 (counted from 0), expected"),
    ({"y_train": np.array(["a", "b", ""] * 2)}, "the label at row 2 (counted from 0) is blank"),
    ({"y_train": Y[:5]}, "x_train: has 6 rows but"),
    ({"y_train": np.zeros((6, 2, 2), int)}, "has shape (6, 2, 2), expected (rows,) or one-hot"),
    ({"y_train": np.zeros((6, 0), int)}, "has shape (6, 0), expected (rows,) or one-hot"),
    ({"y_train": np.int64(3)}, "y_train: is a single value"),
    ({"y_train": np.eye(3)[Y] * 0.5}, "row 0 (counted from 0) is not one-hot"),
    ({"y_train": np.eye(3)[Y] + np.eye(6, 3, -3)}, "row 3 (counted from 0) is not one-hot"),
    ({"x_train": X.astype("g")}, "x_train: has dtype float128, expected at most float64"),
    ({"x_train": X.astype(int) + 2**53}, "which float64 does not hold: expected at most 2**53"),
    ({"x_train": X.astype(float) * 1e39}, "value 1e+39 at row 0, column 1 (counted from 0), is"),
    ({"x_train": X * 1j}, "x_train: has dtype complex64, expected numbers"),
    ({"x_train": X.astype("U4")}, "x_train: has dtype <U4, expected numbers"),
    ({"x_train": X[:, 0]}, "x_train: has shape (6,), expected (rows, inputs)"),
    ({"x_train": X[:, :0]}, "x_train: has shape (6, 0), expected (rows, inputs)"),
    ({"x_train": X[:0], "y_train": Y[:0]}, "x_train: has no rows"),
    ({"x_test": X}, "has no array y_test"),
    ({"y_validation": Y}, "has no array x_validation"),
    ({"x_test": X[:, :1], "y_test": Y}, "x_test: has 1 inputs, expected 2"),
    ({"x_test": X.astype("u1"), "y_test": Y}, "x_test: has dtype uint8, expected float32"),
    ({"x_test": X, "y_test": Y + 1}, "y_test: label 3 at row 2 (counted from 0), expected 0 to 2"),
    ({"y_train": Y + 1, "x_test": X, "y_test": Y}, "y_test: label 0 at row 0 (counted from 0), "),
    ({"x_test": X, "y_test": np.eye(4)[Y]}, "y_test: has 4 one-hot columns, expected 3 classes"),
    ({"x_valid": X}, "has no array y_validation (it holds 'x_train', 'y_train', 'x_valid')"),
    ({"x_test": X, "y_tset": Y}, "has no array y_test"),
    ({"x_test": X, "y_tset": Y}, "is it 'y_tset'?"),
    ({"X_train": X}, "arrays 'x_train' and 'X_train' could both be x_train: keep one"),
]


@pytest.mark.parametrize(("arrays", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    refused(save(tmp_path, **arrays), message)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_values_are_located(tmp_path: Path, value: float) -> None:
    x = np.zeros((3000, 1000), np.float32)  # more than one chunk of the check
    x[2345, 678] = value
    path = save(tmp_path, x_train=x, y_train=np.arange(3000) % 2)
    refused(path, f"x_train: value {value} at row 2345, column 678")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return pytest.fail, ("a pickle was loaded",)

    objects = np.empty(6, object)
    objects[:] = Trap()
    refused(save(tmp_path, y_train=objects), "y_train: has dtype object, expected numbers")
    path = tmp_path / "plain.npz"
    path.write_bytes(pickle.dumps([1, 2]))
    refused(path, "cannot be read: File is not a zip file")


def test_a_file_for_which_memory_runs_out() -> None:
    with (
        pytest.raises(DataError, match=r"a\.npz: too little memory: MemoryError: 3 GiB: .* has "),
        guard.refuse_bad_file("a.npz"),
    ):
        raise MemoryError("3 GiB")


def npy(shape: str, data: bytes, descr: str = "'|u1'", version: int = 1) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return (
        b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header.encode() + data
    )


def zipped(path: Path, member: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    labels = io.BytesIO()
    np.save(labels, Y)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("x_train.npy", member)
        archive.writestr("y_train.npy", labels.getvalue())
    return path


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (npy("(6, 2**9)", b""), "cannot be read"),
        (npy("(6, 1000000000000)", b"123"), "header claims 6000000000000 bytes"),
        (npy("(6, 2)", b"1" * 13), "header claims 12 bytes (uint8, shape (6, 2)), file holds 13"),
        (npy("(-6, -2)", b"1" * 12), "header claims 12 bytes"),
        (npy("(6, 2)", b"1" * 12, "'nonsense'"), "cannot be read"),
        (npy("(6, 2)", b"1" * 12, "(" * 60), "cannot be read"),
        (npy("(6, 2)", b"1" * 12, "'|O'"), "has dtype object"),
        (npy("(6, 2)", b"1" * 12, version=3), ".npy version (3, 0), expected 1.0 or 2.0"),
        (b"not npy at all", "cannot be read: the magic string is not correct"),
        (b"", "cannot be read"),
    ],
)
def test_hostile_members(tmp_path: Path, member: bytes, message: str) -> None:
    refused(zipped(tmp_path / "bad.npz", member), message)


def test_hostile_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = npy("(6, 2)", b"1" * 12)
    refused(zipped(tmp_path / "lzma.npz", good, zipfile.ZIP_LZMA), "has compression type 14")
    path = zipped(tmp_path / "size.npz", good)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 10**9)  # the stated size of x_train
    path.write_bytes(data)
    refused(path, "header claims 12 bytes")
    path = zipped(tmp_path / "bomb.npz", npy("(6, 2000000)", bytes(12_000_000)))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 20 : entry + 24] = struct.pack("<I", 200)  # its stated compressed size
    path.write_bytes(data)
    refused(path, "more than 200 compressed bytes can hold")
    monkeypatch.setattr(memory_limits, "physical_memory", lambda: 100)
    refused(zipped(tmp_path / "memory.npz", good), "this machine has")


def test_the_same_array_twice(tmp_path: Path) -> None:
    path = zipped(tmp_path / "twice.npz", npy("(6, 2)", b"1" * 12))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train", npy("(6, 2)", b"1" * 12))
    refused(path, "holds the array 'x_train' twice")


def test_truncated_at_any_byte(tmp_path: Path) -> None:
    data = save(tmp_path).read_bytes()
    path = tmp_path / "cut.npz"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"cut\.npz"):
            read(path)


@settings(deadline=None, max_examples=300)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255))
@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_one_wrong_byte_is_data_or_data_error(
    tmp_path_factory: pytest.TempPathFactory, compress: object, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("npz") / "wrong.npz"
    compress(path, x_train=X, y_train=Y)  # type: ignore[operator]  # savez or savez_compressed
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= value
    path.write_bytes(data)
    with suppress(DataError):  # or else the checksums of zip let nothing wrong through
        np.testing.assert_array_equal(read(path).train.labels, Y)


def test_floats_of_both_widths_meet_in_the_wider(tmp_path: Path) -> None:
    path = tmp_path / "mixed.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X.astype("f8") / 3, y_test=Y)
    raw = load(str(path), seed=0)
    assert raw.test is not None
    assert raw.train.features.dtype == raw.test.features.dtype == np.float64
    assert np.array_equal(raw.test.features, X.astype("f8") / 3)
    assert np.array_equal(raw.train.features, X)
