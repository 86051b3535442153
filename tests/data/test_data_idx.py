"""IDX files: round trips, and every way in which they can be damaged."""

from __future__ import annotations

import gzip
import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpcpgd.data import idx, load
from hpcpgd.environment import memory_limits
from hpcpgd.errors import DataError
from tests.helpers.support import MINI

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
TRAIN_IMAGES, TRAIN_LABELS = FILES["train"]


def idx_bytes(array: np.ndarray) -> bytes:
    """The format as its author describes it, written without our code."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def write_folder(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    (folder / TRAIN_IMAGES).write_bytes(idx_bytes(images))
    (folder / TRAIN_LABELS).write_bytes(idx_bytes(labels))
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        idx.read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@settings(deadline=None, max_examples=40)
@given(array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=6, min_side=0)))
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, array: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("idx") / f"values{suffix}"
    data = idx_bytes(array)
    path.write_bytes(gzip.compress(data) if suffix else data)
    np.testing.assert_array_equal(idx.read(path), array)
    assert idx.read(path).shape == array.shape


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_truncated_at_any_byte(tmp_path: Path, suffix: str) -> None:
    data = idx_bytes(np.arange(60, dtype=np.uint8).reshape(5, 3, 4))
    data = gzip.compress(data, mtime=0) if suffix else data
    path = tmp_path / f"cut{suffix}"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refusal(path)


@settings(deadline=None, max_examples=150)
@given(position=st.integers(0, 10**6), value=st.integers(1, 255))
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_one_wrong_byte_is_data_or_data_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, position: int, value: int
) -> None:
    data = bytearray(idx_bytes(np.arange(60, dtype=np.uint8).reshape(5, 3, 4)))
    data = bytearray(gzip.compress(bytes(data), mtime=0)) if suffix else data
    data[position % len(data)] ^= value
    path = tmp_path_factory.mktemp("idx") / f"wrong{suffix}"
    path.write_bytes(data)
    with suppress(DataError):
        idx.read(path)


def test_lengths_are_named(tmp_path: Path) -> None:
    data = idx_bytes(np.zeros((5, 3, 4), np.uint8))
    path = tmp_path / "plain"
    path.write_bytes(data[:-1])
    assert "truncated: 59 bytes after the header, expected 60" in refusal(path)
    path.write_bytes(data + b"x")
    assert "oversized: at least 61 bytes after the header, expected 60" in refusal(path)
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(data[:-1]))
    assert "truncated: 59 bytes after the header, expected 60" in refusal(packed)
    packed.write_bytes(gzip.compress(data + b"xyz"))
    assert "oversized: at least 61 bytes after the header, expected 60" in refusal(packed)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((2, 2), np.uint8)) + bytes(50_000_000)))
    assert "oversized: at least 5 bytes" in refusal(path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_impossible_sizes_are_refused_before_allocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    head = struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    path = tmp_path / f"huge{suffix}"
    path.write_bytes(gzip.compress(head) if suffix else head)
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("memory was asked for"))
    assert str((2**32 - 1) ** 3) in refusal(path)


def test_more_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big"
    path.write_bytes(idx_bytes(np.zeros((100, 100), np.uint8)))
    monkeypatch.setattr(memory_limits, "physical_memory", lambda: 9_999)
    assert "memory" in refusal(path)


def test_other_files_and_types(tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"PK\x03\x04 and more")
    assert "not an IDX file: starts with bytes 50 4b 03 04" in refusal(path)
    path.write_bytes(struct.pack(">BBBBIf", 0, 0, 0x0D, 1, 1, 1.0))
    assert "IDX type float32, expected unsigned bytes" in refusal(path)
    packed = tmp_path / "not-packed.gz"
    packed.write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    assert "Not a gzipped file" in refusal(packed)


def test_not_a_readable_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent")
    assert "is a folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    assert "is a pipe" in refusal(tmp_path / "pipe")
    with pytest.raises(DataError, match="no such folder"):
        load(str(tmp_path / "absent"), seed=0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"")
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_mini_mnist_against_the_bytes_of_its_files() -> None:
    raw = load(str(MINI), seed=0)
    assert raw.test is not None
    for part, split in (("train", raw.train), ("test", raw.test)):
        images, labels = (gzip.decompress((MINI / f"{n}.gz").read_bytes()) for n in FILES[part])
        assert split.features.tobytes() == images[16:]
        assert split.labels.astype(np.uint8).tobytes() == labels[8:]
    assert raw.train.features.shape == (300, 784)
    np.testing.assert_array_equal(np.bincount(raw.train.labels), np.full(10, 30))
    np.testing.assert_array_equal(np.bincount(raw.test.labels), np.full(10, 10))
    assert (raw.n_out, raw.scale, raw.offset, raw.has_accuracy) == (10, 1 / 255, 0, True)
    assert raw.train.features.flags.c_contiguous
    assert raw.train.features.flags.writeable


def test_folder_without_a_test_set(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2], np.uint8)
    raw = load(str(write_folder(tmp_path, np.zeros((3, 2, 2), np.uint8), labels)), seed=0)
    assert raw.test is None
    assert raw.n_out == 3
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    with pytest.raises(
        DataError, match="no file of images beside t10k-labels-idx1-ubyte: expected t10k"
    ):
        load(str(tmp_path), seed=0)


def test_one_label_less(tmp_path: Path) -> None:
    write_folder(tmp_path, np.zeros((6, 2, 2), np.uint8), np.array([0, 1, 0, 1, 0], np.uint8))
    with pytest.raises(DataError, match=r"images-idx3-ubyte: has 6 rows but .* has 5 labels"):
        load(str(tmp_path), seed=0)
