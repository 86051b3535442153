"""Arrays as people have them: their names, labels and numbers, and the line that says so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

from hpcpgd.data import load
from hpcpgd.errors import DataError

X, Y = np.random.default_rng(0).random((6, 3)), np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("labels", "note", "names"),
    [
        ([1, 2, 3, 2], "labels 1, 2, 3 are classes 0 to 2", ("1", "2", "3")),
        ([-1, 1, -1, 1], "labels -1, 1 are classes 0 to 1", ("-1", "1")),
        ([7.0, 9.0, 7.0, 9.0], "labels 7, 9 are classes 0 to 1", ("7", "9")),
        ([np.float16(7), np.float16(9)] * 2, "labels 7, 9 are classes 0 to 1", ("7", "9")),
        (["b", "a", "b", "a"], "labels a, b are classes 0 to 1", ("a", "b")),
        ([b"b", b"a", b"b", b"a"], "labels a, b are classes 0 to 1", ("a", "b")),
    ],
)
def test_labels_become_the_classes_that_are_there(
    tmp_path: Path, labels: list[Any], note: str, names: tuple[str, ...]
) -> None:
    x = np.eye(4)
    path = tmp_path / "a.npz"
    np.savez(path, x_train=x, y_train=labels, x_test=x, y_test=labels[::-1])
    raw = load(str(path), seed=0)
    assert (raw.class_names, raw.test is not None) == (names, True)
    assert note in raw.notes
    given = [label.decode() if isinstance(label, bytes) else str(label) for label in labels]
    expected = [sorted(set(labels)).index(label) for label in labels]
    np.testing.assert_array_equal(raw.train.labels, expected, str(given))
    assert raw.test is not None
    np.testing.assert_array_equal(raw.test.labels, expected[::-1])


def test_booleans_are_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(4), y=np.array([True, False, True, True]))
    np.testing.assert_array_equal(load(str(tmp_path / "a.npz"), seed=0).train.labels, [1, 0, 1, 1])


@pytest.mark.parametrize(
    ("dtype", "highest", "kept", "scale", "note"),
    [
        ("uint8", 255, "uint8", 1 / 255, "pixels 0 to 255, divided by 255"),
        ("int64", 255, "uint8", 1 / 255, "int64 features taken as pixels 0 to 255, divided by"),
        ("uint8", 1, "uint8", 1.0, ""),
        ("bool", 1, "float32", 1.0, ""),
        ("int32", 9, "uint8", 1.0, ""),
        ("int32", 60, "uint8", 1.0, "features range from 0 to 60, on which training may be poor"),
        ("int16", 300, "float32", 1.0, "features range from 0 to 300"),
        ("int64", 2**30, "float64", 1.0, "features range from 0 to 1.074e+09"),
        ("float16", 2, "float32", 1.0, ""),
        ("float32", 255, "float32", 1.0, "features range from 0 to 255, on which training may"),
        ("float64", 1e-6, "float64", 1.0, "features range from 0 to 1e-06"),
    ],
)
def test_numbers_of_every_kind(
    tmp_path: Path, dtype: str, highest: float, kept: str, scale: float, note: str
) -> None:
    x = np.array([[0, 1], [1, 0], [0, 0], [1, 1]]) * highest
    np.savez(tmp_path / "a.npz", x_train=x.astype(dtype), y_train=[0, 1, 0, 1])
    raw = load(str(tmp_path / "a.npz"), seed=0)
    assert (str(raw.train.features.dtype), raw.scale) == (kept, scale)
    np.testing.assert_array_equal(raw.train.features, x.astype(dtype))
    text = "; ".join(filter(None, (*raw.notes, raw.range_note)))
    assert note in text if note else text == ""


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("training_data", "training_targets", "testing_data", "testing_targets"),
        ("xTrain", "yTrain", "xTest", "yTest"),
        ("Xtrain", "ytrain", "testX", "testy"),
        ("arr_0", "arr_1", "arr_2", "arr_3"),
        ("images", "labels", "test_images", "test_labels"),
        ("data", "target", "x_te", "y_te"),
    ],
)
@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_names_of_arrays(tmp_path: Path, names: tuple[str, ...], ending: str) -> None:
    arrays = dict(zip(names, (X, Y, X[:3], Y[:3]), strict=True))
    extra = {"class_names": np.array(["cat", "dog", "owl"], "S3"), "row": np.arange(6)}
    path = tmp_path / f"a{ending}"
    if ending == ".npz":
        np.savez(path, allow_pickle=True, **arrays, **(extra if names[0] != "arr_0" else {}))
    else:
        with h5py.File(path, "w") as file:
            for name, array in (arrays | (extra if names[0] != "arr_0" else {})).items():
                file[name] = array
    raw = load(str(path), seed=0)
    np.testing.assert_array_equal(raw.train.features, X)
    np.testing.assert_array_equal(raw.train.labels, Y)
    assert raw.test is not None
    np.testing.assert_array_equal(raw.test.features, X[:3])
    if names[0] != "arr_0":
        assert raw.class_names == ("cat", "dog", "owl")
        assert "array row left out" in raw.notes
    if names[0] == "X_train":
        assert "X_train taken as x_train" in raw.notes


def test_groups_of_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/images"], file["train/labels"] = X, Y
        file["test/images"], file["test/labels"] = X[:3], Y[:3]
    raw = load(str(tmp_path / "a.h5"), seed=0)
    assert raw.test is not None
    np.testing.assert_array_equal(raw.test.features, X[:3])


def test_words_as_labels_in_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = X, ["cat", "dog", "owl"] * 2
    raw = load(str(tmp_path / "a.h5"), seed=0)
    np.testing.assert_array_equal(raw.train.labels, Y)
    assert raw.class_names == ("cat", "dog", "owl")


def test_hdf5_written_by_xarray(tmp_path: Path) -> None:
    dataset = xarray.Dataset(
        {"x_train": (("row", "input"), X), "y_train": (("row",), Y)},
        {"row": np.arange(6), "input": np.arange(3)},
    )
    for name in ("a.h5", "a.nc"):
        dataset.to_netcdf(tmp_path / name, engine="h5netcdf")
        raw = load(str(tmp_path / name), seed=0)
        np.testing.assert_array_equal(raw.train.features, X)
        assert raw.notes == ()


def test_netcdf_packed_and_with_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"

    def write(values: Any, **encoding: Any) -> None:
        dataset = xarray.Dataset({"x_train": (("row", "input"), values), "y_train": (("row",), Y)})
        dataset["x_train"].encoding = encoding
        dataset.to_netcdf(path, engine="h5netcdf")

    values = np.round(np.linspace(-2, 4, 18), 2).reshape(6, 3)
    write(values, dtype="int16", scale_factor=0.01, add_offset=1.0, _FillValue=-9999)
    raw = load(str(path), seed=0)
    np.testing.assert_allclose(raw.train.features, values, rtol=1e-12, atol=1e-12)
    assert raw.notes == ("x_train unpacked by its scale_factor and add_offset",)
    values[4, 1] = np.nan
    write(values, dtype="int16", scale_factor=0.01, _FillValue=-9999)
    with pytest.raises(DataError, match=r"value at \(4, 1\) .* is missing, by _FillValue = -9999"):
        load(str(path), seed=0)
    with h5py.File(path, "r+") as file:
        file["x_train"].attrs["scale_factor"] = "a hundredth"
        del file["x_train"].attrs["_FillValue"]
    with pytest.raises(DataError, match="attribute scale_factor is expected to be one number"):
        load(str(path), seed=0)


def test_netcdf_of_version_3(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"CDF\x01" + bytes(60))
    with pytest.raises(DataError, match="is netCDF of version 3, by its first bytes: convert"):
        load(str(tmp_path / "a.nc"), seed=0)


WORDS = np.array(["0", "1", "2"])[Y]


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (Y, WORDS, "y_test: has labels that are words, expected labels that are numbers as in"),
        (Y + 1, WORDS, "y_test: has labels that are words, expected labels that are numbers"),
        (Y + 1, np.eye(3)[Y], "y_test: has labels that are one-hot, expected labels that are numb"),
        (WORDS, Y, "y_test: has labels that are numbers, expected labels that are words"),
        (np.eye(3)[Y], WORDS, "y_test: has labels that are words, expected labels that are one-h"),
    ],
)
def test_labels_of_two_forms(tmp_path: Path, train: Any, test: Any, said: str) -> None:
    np.savez(tmp_path / "a.npz", x_train=X, y_train=train, x_test=X, y_test=test)
    with pytest.raises(DataError, match=re.escape(said)):
        load(str(tmp_path / "a.npz"), seed=0)


def test_blanks_around_words_are_no_part_of_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=["a", "a ", "b"] * 2)
    assert load(str(tmp_path / "a.npz"), seed=0).class_names == ("a", "b")


def test_hdf5_that_is_open_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = X, Y
    code = f"import h5py; f = h5py.File({str(path)!r}, 'a'); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(DataError, match="another program holds it open for writing"):
            load(str(path), seed=0)
        writer.communicate("\n", timeout=60)


def test_the_cure_of_a_foreign_filter_cures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of the message, with an empty module in the place of hdf5plugin."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x_train", data=X.astype("f4"), scaleoffset=3)
        file["y_train"] = Y
    with pytest.raises(DataError, match=r"6 \(scaleoffset\)") as caught:
        load(str(path), seed=0)
    (tmp_path / "hdf5plugin.py").write_text("")
    code = re.search(r'python -c "(.*)"', str(caught.value))
    assert code is not None
    subprocess.run([sys.executable, "-c", code[1]], check=True, cwd=tmp_path, timeout=60)
    raw = load(str(tmp_path / "new.h5"), seed=0)
    np.testing.assert_allclose(raw.train.features, X, atol=1e-3)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_infinity_is_refused_in_every_type(tmp_path: Path, dtype: str) -> None:
    x = np.eye(4).astype(dtype)
    np.savez(tmp_path / "good.npz", x=x, y=Y[:4])
    x[2, 1] = np.inf
    np.savez(tmp_path / "bad.npz", x=x, y=Y[:4])
    for run in ("float32", "float64"):
        assert load(str(tmp_path / "good.npz"), seed=0, dtype=run).train.rows == 4
        with pytest.raises(DataError, match=r"value inf at row 2, column 1 .* finite numbers"):
            load(str(tmp_path / "bad.npz"), seed=0, dtype=run)


def test_class_names_that_do_not_fit_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y, class_names=np.array(["a", "b"]))
    assert "2 names for 3 classes left out" in load(str(tmp_path / "a.npz"), seed=0).notes


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_features_without_labels_for_a_network(name: str, tmp_path: Path) -> None:
    if name == "a.npz":
        np.savez(tmp_path / name, x_train=np.eye(3), x_test=np.eye(3))
    else:
        with h5py.File(tmp_path / name, "w") as file:
            file["x_train"], file["x_test"] = np.eye(3), np.eye(3)
    raw = load(str(tmp_path / name), seed=0, classes=("a", "b"))
    assert raw.test is not None
    assert (raw.test.rows, raw.n_out, raw.has_accuracy) == (3, 2, False)
    with pytest.raises(DataError, match="has no array y_train"):
        load(str(tmp_path / name), seed=0)


@pytest.mark.parametrize("labels", [[1, 2, 3], [3, 2, 1]])
def test_names_of_labels_mean_the_same_with_and_without_a_network(
    labels: list[int], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(3), y=labels, class_names=["a", "b", "c"])
    raw = load(str(tmp_path / "a.npz"), seed=0)
    again = load(str(tmp_path / "a.npz"), seed=0, classes=raw.class_names)
    assert again.train.labels.tolist() == raw.train.labels.tolist() == [n - 1 for n in labels]
