"""Names of datasets, where they are looked for, and the data themselves."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpcpgd.data import check_name, idx, load, locate, prepare
from hpcpgd.errors import DataError, UsageError
from tests.helpers.support import MINI

FASHION = Path("/usr/share/datasets/fashion-mnist")


# SHA-256 of the 1797 rows (64 pixels, label; one byte each) of scikit-learn's load_digits,
# sorted as byte strings, and the pixels of its first row, a 0.
SKLEARN_ROWS = "f67d6a29d0e1f70e7f0cd9dcf25816b694881f4b8f27f5cc1db59551f0499fb8"
SKLEARN_FIRST = (
    "0000050d0901000000000d0f0a0f050000030f02000b080000040c0000080800"
    "000508000009080000040b00010c070000020e050a0c00000000060d0a000000"
)


def test_digits_are_those_of_scikit_learn() -> None:
    raw = load("digits", seed=0)
    assert raw.test is not None
    rows = [
        pixels.tobytes() + bytes([label])
        for split in (raw.train, raw.test)
        for pixels, label in zip(split.features, split.labels, strict=True)
    ]
    assert len(rows) == 1797
    assert bytes.fromhex(SKLEARN_FIRST + "00") in rows
    assert hashlib.sha256(b"".join(sorted(rows))).hexdigest() == SKLEARN_ROWS


def test_digits_are_in_a_fixed_order() -> None:
    raw, other = load("digits", seed=0), load("digits", seed=99)
    assert raw.test is not None
    assert other.test is not None
    np.testing.assert_array_equal(raw.train.features, other.train.features)
    np.testing.assert_array_equal(raw.test.labels, other.test.labels)
    assert (raw.train.rows, raw.test.rows, raw.n_out) == (1500, 297, 10)
    assert (raw.scale, raw.offset, raw.has_accuracy) == (1 / 16, 0, True)
    assert raw.train.features.dtype == np.uint8
    assert raw.train.features.max() == 16
    data = prepare(raw, seed=0, train_rows=None, test_fraction=None)
    assert (data.train.rows, data.validation.rows, data.test.rows) == (1250, 250, 297)
    assert data.n_in == 64
    # A change here changes every result that users have: the data are a promise.
    assert data.sha256 == "12730f4e8da27157e08d6f8886cf7d7785f69b337907722686888ec2bb4b8cc7"


GOOD = [
    *("digits", "mnist", "fashion-mnist", "synthetic:1x1x1", "synthetic:60000x784x10"),
    *("a.npz", "b/c.H5", "d.hdf5", "e.csv", "some/folder", "./folder", ".", "../x"),
]


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name: str) -> None:
    check_name(name)


BAD = [
    ("mnsit", "unknown dataset 'mnsit': expected digits, mnist, fashion-mnist,"),
    ("mnsit", "folder of IDX files); did you mean 'mnist'?"),
    ("digit", "did you mean 'digits'?"),
    ("fashion_mnist", "did you mean 'fashion-mnist'?"),
    ("", "unknown dataset ''"),
    ("data.npy", "unknown kind of file 'data.npy': expected"),
    ("data.npy", "numpy.savez('data.npz', x_train=..., y_train=...) keeps both"),
    ("data/x.hd5", "unknown kind of file 'data/x.hd5'"),
    ("synthetic", "malformed dataset 'synthetic': expected synthetic:ROWSxINxOUT"),
    ("synthetic:", "malformed dataset"),
    ("synthetic:0x1x1", "malformed dataset"),
    ("synthetic:10x2", "malformed dataset"),
    ("synthetic:10x2x3x4", "malformed dataset"),
    ("synthetic:-1x2x3", "malformed dataset"),
    ("synthetic:1x2x3\n", "malformed dataset"),
    ("synthetic:٣x2x3", "malformed dataset"),
    ("synthetic:" + "9" * 5000 + "x1x1", "malformed dataset"),
]


@pytest.mark.parametrize(("name", "message"), BAD)
def test_bad_names(name: str, message: str) -> None:
    for check in (check_name, lambda n: load(n, seed=0)):
        with pytest.raises(UsageError, match=re.escape(message)) as caught:
            check(name)
        assert "\n" not in str(caught.value)


def test_a_bare_folder_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(MINI, tmp_path / "mine")
    shutil.copytree(MINI, tmp_path / "mine.v2")
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "mine.v2"):
        check_name(name)
        assert load(name, seed=0).train.rows == 300


@pytest.mark.parametrize("name", ["no/folder", "no.npz", "no.h5", "no.csv", "x\0y.csv", "x\0/y"])
def test_missing_paths(name: str) -> None:
    check_name(name)
    with pytest.raises(DataError):
        load(name, seed=0)


def test_where_datasets_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, data = tmp_path / "cache", tmp_path / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("HPCPGD_DATA", raising=False)
    with pytest.raises(DataError) as caught:
        load("mnist", seed=0)
    assert f"looked in {cache}/hpcpgd/mnist)" in str(caught.value)
    assert "python -m hpcpgd.data fetch mnist" in str(caught.value)
    shutil.copytree(MINI, cache / "hpcpgd" / "mnist")
    assert locate.locate("mnist") == cache / "hpcpgd" / "mnist"
    monkeypatch.setenv("HPCPGD_DATA", str(data))
    assert locate.locate("mnist") == cache / "hpcpgd" / "mnist"
    shutil.copytree(MINI, data / "mnist")
    assert locate.locate("mnist") == data / "mnist"
    (data / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()  # an interrupted copy
    assert locate.locate("mnist") == cache / "hpcpgd" / "mnist"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("HPCPGD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    with pytest.raises(DataError, match="no folder: no home folder"):
        load("mnist", seed=0)


def test_mnist_has_ten_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mnist"
    monkeypatch.setenv("HPCPGD_DATA", str(tmp_path))
    shutil.copytree(MINI, folder)
    assert load("mnist", seed=0).n_out == 10
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    labels = idx.read(MINI / "train-labels-idx1-ubyte.gz")
    labels[17] = 10
    header = bytes([0, 0, 8, 1, 0, 0, 1, 44])
    (folder / "train-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    with pytest.raises(DataError, match=r"label 10 at row 17 .*, expected 0 to 9"):
        load("mnist", seed=0)


@pytest.mark.large
@pytest.mark.skipif(not FASHION.is_dir(), reason=f"no {FASHION}: apt install its package")
def test_fashion_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPCPGD_DATA", str(tmp_path))
    raw = load("fashion-mnist", seed=0)
    assert raw.test is not None
    assert raw.train.features.shape == (60000, 784)
    np.testing.assert_array_equal(np.bincount(raw.train.labels), np.full(10, 6000))
    np.testing.assert_array_equal(np.bincount(raw.test.labels), np.full(10, 1000))
    # The mean and deviation of its pixels as its users know them (for normalising).
    np.testing.assert_allclose(raw.train.features.mean() / 255, 0.2860, atol=5e-5)
    np.testing.assert_allclose(raw.train.features.std() / 255, 0.3530, atol=5e-5)
    data = prepare(raw, seed=1, train_rows=None, test_fraction=None)
    assert (data.train.rows, data.validation.rows, data.test.rows) == (50000, 10000, 10000)
