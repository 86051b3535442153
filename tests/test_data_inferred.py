"""Data as people have it: what is inferred, and the line that says so."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpcpgd.data import check_name, load, prepare
from hpcpgd.data.dataset import Dataset, RawData
from hpcpgd.errors import ConfigError, DataError, UsageError
from tests.test_data_idx import FILES, MINI, idx_bytes

ROWS = "1,2.5,0\n-3,4e2,1\n5,6,2\n"
FEATURES = [[1, 2.5], [-3, 400], [5, 6]]
IRIS = "5.1,3.5,setosa\n4.9,3,setosa\n6.3,3.3,virginica\n7,3.2,versicolor\n"
LABEL_FIRST = "0,1,2.5\n1,-3,4e2\n2,5,6\n"


def read(path: Path, content: str | bytes, **options: Any) -> RawData:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load(str(path), seed=0, **options)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("label,pixel0,pixel1\n" + LABEL_FIRST, "labels in column 1 ('label') (by its name)"),
        ("Class,a,b\n" + LABEL_FIRST, "labels in column 1 ('Class') (by its name)"),
        ("a,y,b\n1,0,2.5\n-3,1,4e2\n5,2,6\n", "labels in column 2 ('y') (by its name)"),
        (ROWS, "no header; labels in column 3 (the last; --label-column names another)"),
        ("0,1,2\n" + ROWS, "the first line is a header; labels in column 3 ('2')"),
        ("1,2,3\n" + ROWS, "the first line is a header; labels in column 3 ('3')"),
        (ROWS.replace(",", ";"), "cells separated by semicolons; no header"),
        (ROWS.replace(",", "\t"), "cells separated by tabs"),
        (ROWS.replace(",", " | "), "cells separated by bars"),
        (ROWS.replace(",", "   "), "cells separated by spaces"),
        ("a b label\n" + ROWS.replace(",", " "), "cells separated by spaces; the first line"),
        (
            "a;b;label\n" + ROWS.replace(",", ";").replace(".", ","),
            "cells separated by semicolons; decimal commas",
        ),
        (
            ROWS.replace("\n", ",\n"),
            "a separator after the last cell; no header; labels in column 3",
        ),
        (
            "a;b;label;\n" + ROWS.replace(",", ";").replace("\n", ";\n"),
            "after the last cell; the first",
        ),
        ("sep=;\n" + ROWS.replace(",", ";"), "cells separated by semicolons; no header"),
        ("2019,2020,label\n" + ROWS, "the first line is a header; labels in column 3 ('label')"),
        ("# made today\n" + ROWS + "# the end\n", "no header"),
        (",a,b,label\n0,1,2.5,0\n1,-3,4e2,1\n2,5,6,2\n", "column 1 ('') left out: it counts the"),
        ("Id,a,b,label\n1,1,2.5,0\n2,-3,4e2,1\n3,5,6,2\n", "column 1 ('Id') left out: it counts"),
    ],
)
def test_a_table_is_read_and_a_line_says_how(tmp_path: Path, text: str, note: str) -> None:
    raw = read(tmp_path / "data.csv", text)
    np.testing.assert_array_equal(raw.train.features, FEATURES)
    np.testing.assert_array_equal(raw.train.labels, [0, 1, 2])
    assert note in "; ".join(raw.notes)


@pytest.mark.parametrize("name", ["a.txt", "a.TSV", "iris.data", "a.dat", "a.csv.gz", "a.txt.gz"])
def test_endings_of_text_files(tmp_path: Path, name: str) -> None:
    check_name(name)
    data = ROWS.encode()
    raw = read(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    np.testing.assert_array_equal(raw.train.features, FEATURES)


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_states_the_encoding(tmp_path: Path, coding: str) -> None:
    raw = read(tmp_path / "a.csv", ("a,b,label\r\n" + ROWS).encode(coding))
    np.testing.assert_array_equal(raw.train.features, FEATURES)


def test_a_header_in_latin_1(tmp_path: Path) -> None:
    raw = read(tmp_path / "a.csv", ("größe,b,label\n" + ROWS).encode("latin-1"))
    np.testing.assert_array_equal(raw.train.features, FEATURES)


@pytest.mark.parametrize("header", ["", "sepal,petal,species\n", "0,1,label\n"])
def test_labels_that_are_words_name_the_classes(tmp_path: Path, header: str) -> None:
    raw = read(tmp_path / "iris.csv", header + IRIS)
    assert raw.class_names == ("setosa", "versicolor", "virginica")
    np.testing.assert_array_equal(raw.train.labels, [0, 0, 2, 1])
    np.testing.assert_array_equal(raw.train.features, [[5.1, 3.5], [4.9, 3], [6.3, 3.3], [7, 3.2]])


@pytest.mark.parametrize("column", ["first", "1", "kind"])
def test_label_column_by_place_number_and_name(tmp_path: Path, column: str) -> None:
    raw = read(tmp_path / "a.csv", "kind,a,label\n0,1,0\n1,2,0\n0,3,1\n", label_column=column)
    np.testing.assert_array_equal(raw.train.labels, [0, 1, 0])
    np.testing.assert_array_equal(raw.train.features, [[1, 0], [2, 0], [3, 1]])


@pytest.mark.parametrize("column", ["4", "0", "kinds", "-1"])
def test_a_label_column_that_is_not_there(tmp_path: Path, column: str) -> None:
    message = f"--label-column {column}: no such column: expected first, last, 1 to 3 or a name"
    with pytest.raises(DataError, match=re.escape(message)):
        read(tmp_path / "a.csv", "kind,a,label\n0,1,0\n1,2,0\n", label_column=column)


def test_a_label_column_of_what_is_no_text_file(tmp_path: Path) -> None:
    for name in ("digits", str(tmp_path / "a.npz")):
        with pytest.raises(ConfigError, match="label-column first means something to text files"):
            load(name, seed=0, label_column="first")


def test_mnist_as_csv_without_a_header(tmp_path: Path) -> None:
    """The label first, and the last pixel 0 or 1: both could be the labels, and a line says so."""
    lines = "5,0,1\n3,7,0\n5,9,1\n3,1,0\n"
    raw = read(tmp_path / "a.csv", lines)
    assert "the last; if it is the first: --label-column first" in raw.notes[1]
    raw = read(tmp_path / "a.csv", lines, label_column="first")
    assert raw.class_names == ("3", "5")


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
    text = "; ".join(raw.notes)
    assert note in text if note else text == ""


def test_what_float32_does_not_hold_goes_with_float64(tmp_path: Path) -> None:
    text = "1,1e39,0\n2,3,1\n"
    with pytest.raises(DataError, match=r"line 1, column 2: '1e39': is beyond .* --dtype float64"):
        read(tmp_path / "a.csv", text)
    assert read(tmp_path / "a.csv", text, dtype="float64").train.features[0, 1] == 1e39


X, Y = np.random.default_rng(0).random((6, 3)), np.array([0, 1, 2, 0, 1, 2])


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
    xarray = pytest.importorskip("xarray")
    dataset = xarray.Dataset(
        {"x_train": (("row", "input"), X), "y_train": (("row",), Y)},
        {"row": np.arange(6), "input": np.arange(3)},
    )
    for name in ("a.h5", "a.nc"):
        dataset.to_netcdf(tmp_path / name, engine="h5netcdf")
        raw = load(str(tmp_path / name), seed=0)
        np.testing.assert_array_equal(raw.train.features, X)
        assert raw.notes == ()


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
        assert (raw.train.rows, raw.n_classes, raw.class_names) == (6, 3, ("1", "2", "3"))
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
    assert load("MNIST", seed=0).n_classes == 10


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("mnist.pkl.gz", "files that run code as they are read are refused"),
        ("data.pt", "write numpy.savez('data.npz', x_train=..., y_train=...)"),
        ("data.parquet", "write it with pandas as .csv"),
        ("data.cvs", "did you mean '.csv'?"),
    ],
)
def test_kinds_of_files_that_are_not_read(name: str, cure: str) -> None:
    with pytest.raises(UsageError, match=re.escape(cure)):
        check_name(name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardised_by_the_training_rows(tmp_path: Path, dtype: str) -> None:
    x = np.random.default_rng(1).normal((5, 1e4, 7), (2, 1e5, 0), (90, 3))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(90) % 3, x_test=x[:9] + 1, y_test=Y[[0] * 9])
    raw = load(str(tmp_path / "a.npz"), seed=0, dtype=dtype)
    plain = prepare(raw, seed=4, train_rows=None, test_fraction=None)
    data = prepare(raw, seed=4, train_rows=None, test_fraction=None, standardise=dtype)
    mean, deviation = plain.train.features.mean(axis=0), plain.train.features.std(axis=0)
    deviation[2] = 1
    np.testing.assert_allclose(data.mean, mean)
    np.testing.assert_allclose(data.deviation, deviation)
    for name in ("train", "validation", "test"):
        got, given = getattr(data, name), getattr(plain, name)
        assert got.features.dtype == dtype
        expected = (given.features - mean) / deviation
        np.testing.assert_allclose(got.features, expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_array_equal(got.labels, given.labels)
    assert "1 of 3 never vary" in data.notes[-1]
    assert not any("training may be poor" in note for note in data.notes)
    assert data.sha256 == plain.sha256


def test_pixels_standardised(tmp_path: Path) -> None:
    raw = load(str(MINI), seed=0)
    data = prepare(raw, seed=0, train_rows=None, test_fraction=None, standardise="float32")
    moving = np.asarray(data.train.features).std(axis=0) > 0
    np.testing.assert_allclose(data.train.features[:, moving].std(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(data.train.features.mean(axis=0), 0, atol=1e-5)
    assert (data.scale, data.offset) == (1, 0)


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


def test_as_many_classes_as_rows_are_doubted(tmp_path: Path) -> None:
    text = "".join(f"{i},{7 * i}\n" for i in range(30))
    assert "30 classes in 30 rows: are these labels?" in read(tmp_path / "a.csv", text).notes


def test_a_class_that_the_split_leaves_without_training_rows_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(30), y=[0, 1] * 14 + [0, 5])
    raw = load(str(tmp_path / "a.npz"), seed=0)
    notes = set()
    for seed in range(12):
        data = prepare(raw, seed=seed, train_rows=None, test_fraction=0.4)
        missing = not (data.train.labels == 2).any()
        assert missing == ("no training row of class 5" in data.notes)
        notes.add(missing)
    assert notes == {False, True}


def test_an_outlier_is_named_where_columns_are_standardised(tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(20_000, 2))
    x[:, 1][x[:, 1].argmax()] = 1e30
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(len(x)) % 2, x_test=x[:9], y_test=[0] * 9)
    raw = load(str(tmp_path / "a.npz"), seed=0)
    seeds = [s for s in range(9) if "deviations from its mean" in str(_scaled(raw, s).notes)]
    assert seeds  # those where it is a training row
    assert all("input 2 has a value" in _scaled(raw, seed).notes[-1] for seed in seeds)


def _scaled(raw: RawData, seed: int) -> Dataset:
    return prepare(raw, seed=seed, train_rows=None, test_fraction=None, standardise="float64")


def test_class_names_that_do_not_fit_are_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y, class_names=np.array(["a", "b"]))
    assert "2 names for 3 classes left out" in load(str(tmp_path / "a.npz"), seed=0).notes
