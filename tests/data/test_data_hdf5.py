"""HDF5 files: what is read, and that no link leads outside the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcpgd.data import load
from hpcpgd.data.dataset import sha256
from hpcpgd.environment import memory_limits
from hpcpgd.errors import DataError
from tests.helpers.hdf5 import Change, instead, virtual

X = np.random.default_rng(1).random((8, 3, 2))
Y = np.arange(8) % 4


def write(path: Path, *changes: Change) -> Path:
    with h5py.File(path, "w") as file:
        file["x_train"], file["y_train"] = X, Y
        for change in changes:
            change(file)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load(str(path), seed=0)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_plain_and_compressed(tmp_path: Path, suffix: str) -> None:
    def packed(file: h5py.File) -> None:
        file.create_dataset("x_test", data=X, compression="gzip", shuffle=True)
        file.create_dataset("y_test", data=np.eye(4)[Y])

    raw = load(str(write(tmp_path / f"good{suffix}", packed)), seed=0)
    assert raw.test is not None
    for split in (raw.train, raw.test):
        np.testing.assert_array_equal(split.features, X.reshape(8, 6))
        np.testing.assert_array_equal(split.labels, Y)
    assert (raw.n_out, raw.scale, raw.validation) == (4, 1.0, None)


def test_same_hash_as_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=X.astype(">f8"), y_train=np.eye(4)[Y])
    first = load(str(tmp_path / "a.npz"), seed=0)
    second = load(str(write(tmp_path / "a.h5")), seed=1)
    assert sha256(first) == sha256(second)


def external(file: h5py.File) -> None:
    outside = str(Path(file.filename).with_name("outside"))  # HDF5 fills it with zeros
    instead("x_train", (8, 6), "u1", external=[(outside, 0, 48)])(file)


def little(file: h5py.File) -> None:
    instead("x_train", (2**30, 2**20), "f8", chunks=(1, 8))(file)
    file["x_train"][0, :8] = 1  # one chunk is written, 8 PiB are claimed


def twice() -> Any:
    """Gzip of gzip: 2 kB that become a gigabyte, though 64 bytes are stated."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((8, 1))
    for _ in range(2):
        plist.set_filter(h5py.h5z.FILTER_DEFLATE, h5py.h5z.FLAG_OPTIONAL, (9,))
    return plist


LONG = ["cat", "dog"] * 3 + ["x" * 300] * 2
BAD: list[tuple[Change, str]] = [
    (virtual("x_train", (8, 6)), "x_train: expected values in this file, found a virtual dataset"),
    (external, "x_train: expected values in this file, found external storage"),
    (
        instead("y_train", h5py.SoftLink("/x_train")),
        "y_train: expected a dataset of this file, fo",
    ),
    (instead("x_train", h5py.ExternalLink("other.h5", "/x_train")), "file, found ExternalLink"),
    (
        instead("x_train", h5py.SoftLink("/")),
        "x_train: expected a dataset of this file, found So",
    ),
    (instead("x_train"), "has no array x_train (it holds 'y_train')"),
    (instead("y_train", LONG), "y_train: has a label of 300 characters, expected 256 at most"),
    (instead("x_train", ["1.5"] * 8), "x_train: has dtype object, expected numbers"),
    (instead("x_train", (2**40, 2**20), "f8", chunks=(1, 8)), "but no value was ever written"),
    (instead("x_train", h5py.Empty("f4")), "x_train: has no shape"),
    (lambda file: file.move("x_train", "z_train"), "has no array x_train (it holds 'y_train', 'z_"),
    (little, "claims 9007199254741056 bytes, more than 64 stored bytes can hold"),
    (
        instead("x_train", (8, 1), "f8", dcpl=twice()),
        "x_train: has HDF5 filters 1 (gzip), 1 (gzip), expected shuffle, fletcher32",
    ),
    (
        instead("x_train", data=X, scaleoffset=2),
        "x_train: has HDF5 filters 6 (scaleoffset), expected shuffle",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD, ids=[message for _, message in BAD])
def test_refused(tmp_path: Path, make: Change, message: str) -> None:
    refused(write(tmp_path / "bad.h5", make), message)


def test_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "good.h5")
    monkeypatch.setattr(memory_limits, "physical_memory", lambda: X.nbytes + Y.nbytes - 1)
    refused(path, "needs 0.0 GiB of memory")


def test_packed_as_tightly_as_can_be(tmp_path: Path) -> None:
    zeros = instead("x_train", data=np.zeros((8, 2**17)), compression=9)
    raw = load(str(write(tmp_path / "zeros.h5", zeros)), seed=0)
    assert raw.train.features.shape == (8, 2**17)


def test_not_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "text.h5"
    path.write_text("hello")
    refused(path, "cannot be read")
    refused(tmp_path / "absent.h5", "no such file")
    (tmp_path / "folder.h5").mkdir()
    refused(tmp_path / "folder.h5", "is a folder, expected a file")


@settings(deadline=None, max_examples=60)
@given(part=st.floats(0, 1, exclude_max=True))
def test_truncated_anywhere(tmp_path_factory: pytest.TempPathFactory, part: float) -> None:
    path = write(tmp_path_factory.mktemp("h5") / "cut.h5")
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    refused(path, "cannot be read")
