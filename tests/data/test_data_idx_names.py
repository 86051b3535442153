"""Names of IDX files and folders as the field uses them, and of datasets."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from hpcpgd.data import check_name, load
from hpcpgd.errors import DataError, UsageError
from tests.data.test_data_idx import FILES, idx_bytes
from tests.helpers.support import MINI

Y = np.array([0, 1, 2, 0, 1, 2])


def folder(place: Path, names: tuple[str, ...]) -> Path:
    place.mkdir(parents=True)
    arrays = (np.arange(24, dtype=np.uint8).reshape(6, 2, 2) * 9, Y.astype(np.uint8) + 1)
    for name, array in zip(names, arrays, strict=True):
        data = idx_bytes(array)
        (place / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return place


@pytest.mark.parametrize(
    "names",
    [
        FILES["train"],
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("emnist-letters-train-images-idx3-ubyte.gz", "emnist-letters-train-labels-idx1-ubyte.gz"),
        ("train_images_idx3_ubyte.gz", "train_labels_idx1_ubyte.gz"),
    ],
)
def test_names_of_idx_files(tmp_path: Path, names: tuple[str, str]) -> None:
    place = folder(tmp_path / "data", names)
    for path in (place, place / names[0]):  # a single file stands for its folder
        check_name(str(path))
        raw = load(str(path), seed=0)
        assert (raw.train.rows, raw.n_out, raw.class_names) == (6, 3, ("1", "2", "3"))
        assert "labels 1, 2, 3 are classes 0 to 2" in raw.notes


@pytest.mark.parametrize("root", ["", "MNIST"])
def test_the_folder_that_torchvision_makes(tmp_path: Path, root: str) -> None:
    folder(tmp_path / "data" / "MNIST" / "raw", FILES["train"])
    assert load(str(tmp_path / "data" / root), seed=0).train.rows == 6


def test_several_datasets_in_a_folder(tmp_path: Path) -> None:
    for number, prefix in enumerate(("emnist-letters", "emnist-digits")):
        place = folder(tmp_path / str(number), tuple(f"{prefix}-{n}" for n in FILES["train"]))
        for path in place.iterdir():
            path.rename(tmp_path / path.name)
    choices = f"expected {tmp_path}/emnist-digits or {tmp_path}/emnist-letters"
    with pytest.raises(DataError, match=re.escape(choices)):
        load(str(tmp_path), seed=0)
    assert load(str(tmp_path / "emnist-letters"), seed=0).train.rows == 6


def test_known_names_in_capitals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCPGD_DATA", str(tmp_path))
    (tmp_path / "mnist").symlink_to(MINI)
    assert load("MNIST", seed=0).n_out == 10


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("mnist.pkl.gz", "files that can run code when they are read are refused"),
        ("data.pt", "write numpy.savez('data.npz', x_train=..., y_train=...)"),
        ("data.parquet", "write it with pandas as .csv"),
        ("data.cvs", "did you mean '.csv'?"),
    ],
)
def test_kinds_of_files_that_are_not_read(name: str, cure: str) -> None:
    with pytest.raises(UsageError, match=re.escape(cure)):
        check_name(name)
