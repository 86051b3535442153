"""CSV files: headers, numbers, and errors that name the line."""

from __future__ import annotations

import gzip
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcpgd.data import lines, load, prepare
from hpcpgd.data.dataset import RawData
from hpcpgd.environment import memory_limits
from hpcpgd.errors import ConfigError, DataError

ROWS = "1,2.5,0\n-3,4e2,1\n5,6,2\n"


def read(folder: Path, text: str | bytes, **options: Any) -> RawData:
    path = folder / "data.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(str(path), seed=0, **options)


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        "a,b,label\n" + ROWS,
        "0,1,label\n" + ROWS,
        '"a","b","label"\n' + ROWS,
        "\n\na,b,label\n\n" + ROWS + "\n",
        ROWS.rstrip("\n"),
        ROWS.replace("\n", "\r\n"),
        "\ufeff" + ROWS,
        "\ufeffa,b,c\r\n" + ROWS,
        '"1","2.5","0"\n' + ROWS[8:],
        " 1 , 2.5 , 0.0 \n" + ROWS[8:],
    ],
)
def test_good_files(tmp_path: Path, text: str) -> None:
    raw = read(tmp_path, text)
    np.testing.assert_array_equal(raw.train.features, [[1, 2.5], [-3, 400], [5, 6]])
    np.testing.assert_array_equal(raw.train.labels, [0, 1, 2])
    assert raw.train.features.dtype == np.float64
    assert raw.train.features.flags.c_contiguous
    assert (raw.n_out, raw.scale, raw.test) == (3, 1.0, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.csv: has no rows"),
        ("\n\n", "data.csv: has no rows"),
        ("a,b,label\n", "data.csv: has no rows"),
        (
            "a,b,label\n" + ROWS + "1,2\n",
            "line 5 has 2 cells, expected 3 as in the first line; a cell with a sep",
        ),
        ("a,b,c,label\n" + ROWS, "line 2 has 3 cells, expected 4"),
        (ROWS + "\n1,2,3,4\n", "line 5 has 4 cells, expected 3"),
        (ROWS + "1,two,0\n", "line 4, column 2: 'two' is not a number: fill in what is missing"),
        (ROWS + "1,,0\n", "line 4, column 2: '' is blank: fill it in, or remove the line"),
        ("a,b,label\n" + ROWS + "1,,0\n", "line 5, column 2 ('b'): '' is blank"),
        ("x,2,0\n" + ROWS, "line 1, column 1: 'x' is not a number"),
        (ROWS + "1_0,2,0\n", "data.csv: "),
        ("a;b;y\n1.234;0,5;0\n2;0,7;1\n", "line 2, column 1 ('a'): '1.234' is not a number"),
        (
            "a,label\n" + ROWS,
            "line 2 has 3 cells, expected 2 as in the first line: the header lacks",
        ),
        ("<!DOCTYPE html>\n<html>", "data.csv: is a web page, perhaps an error page: downl"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the file"),
        ("h,h,h\n\n" + ROWS + "1,2,1.5\n", "line 6, column 3 ('h'): '1.5': expected a label,"),
        (ROWS + "1,2,1.5\n", "--label-column names the column of the labels"),
        (ROWS + "1,2,nan\n", "line 4, column 3: 'nan': expected a label"),
        (ROWS + "1,2,1e12\n", "line 4, column 3: '1e12': expected a label"),
        (ROWS + "nan,2,0\n", "line 4, column 1: 'nan': expected finite numbers"),
        (ROWS + "1,inf,0\n", "line 4, column 2: 'inf': expected finite numbers"),
        (ROWS + "1,1e39,0\n", "line 4, column 2: '1e39': is beyond the largest number of float32"),
        ("a,b,label\n" + ROWS + "-1e39,1,0\n", "line 5, column 1 ('a'): '-1e39': is beyond"),
        ("0\n1\n", "has one column, expected features and labels in cells separated by commas,"),
        (
            "a,b,label\n" + "1,2,x\n2,3,y\n" * 20 + '3,4,"x\n' + "1,2,y\n" * 99,
            "line 42: unexpected end of data: expected a quote to end in the line",
        ),
        ('a,b,label\n1,2,"x\ny"\n', "line 2: unexpected end of data: expected a quote to end"),
        ('1,2,"a"b\n', "line 1: ',' expected after '\"': expected a quote"),
        ("1,2,0\n1_0,2,0\n", "line 2, column 1: '1_0' is not a number"),
        ("1,2,0\n\u0661,2,0\n", "line 2, column 1: '\u0661' is not a number"),
        ("a,b,label\n1,2,0,\n2,1,1,\n", "expected 3 as in the first line: end either all lines"),
        ("1:2:0\n3:4:1\n", "has one column, expected features and labels in cells separated"),
        (
            gzip.compress(ROWS.encode(), mtime=0),
            "is packed by gzip, by its first bytes: gunzip it, or",
        ),
        (b"PK\x03\x04" + bytes(60), "is a zip archive, perhaps of Excel, by its first bytes"),
        (ROWS.encode("utf-16-le"), "line 1 has a NUL: is it text? save the file as UTF-8"),
        (ROWS.encode("utf-32"), "line 1 has a NUL: is it text? save the file as UTF-8"),
        ("1,0\n2,0\n", "every row has label 0, expected 2 classes or more (in a text file"),
        ("1,cat\n2,dog\n3,cat\n4,\n", "line 4, column 2: '': the label is blank"),
        ("1,cat\n2,dog\n3,cat\n4,5\n", "line 4, column 2: '5': is a number among labels that"),
        ("1,a\n2,b\n3,c\n", "column 2 has another word in each of 3 rows, expected labels"),
        (
            "red,a,0\nred,b,1\nblue,a,0\n",
            "column 1: 'red' is not a number: fill in what is missing",
        ),
        ("y,a,label\n1,2,0\n1,3,1\n", "columns 'y' and 'label' could both be the labels"),
        (b"\xff\xfe1\x00,\x002", "cannot be read: 'utf-16-le' codec"),
        ("1,2,0\n1,\x00,0\n", "data.csv: "),
    ],
)
def test_bad_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read(tmp_path, text)
    assert "data.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    assert read(tmp_path, ROWS).train.rows
    with pytest.raises(DataError, match=r"data\.csv: line 1 has more than 100 characters"):
        read(tmp_path, "1," * 60 + "\n")


def test_memory_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limits, "physical_memory", lambda: 2 * 8 * 9 - 1)
    with pytest.raises(DataError, match="this machine has"):
        read(tmp_path, ROWS)


def test_a_fifth_is_held_out_for_testing(tmp_path: Path) -> None:
    raw = read(tmp_path, "".join(f"{i},{i % 2}\n" for i in range(100)))
    split = prepare(raw, seed=3, train_rows=None, test_fraction=None)
    assert (split.train.rows, split.validation.rows, split.test.rows) == (67, 13, 20)


@settings(deadline=None, max_examples=50)
@given(
    values=st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False, width=64), st.integers(0, 1)),
        min_size=1,
    )
)
def test_every_float_comes_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, int]]
) -> None:
    values = [(0.5, 0), (1.5, 1), *values]
    text = "".join(f"{value!r},{label}\n" for value, label in values)
    raw = read(tmp_path_factory.mktemp("csv"), text, dtype="float64")
    np.testing.assert_array_equal(raw.train.features[:, 0], [value for value, _ in values])
    np.testing.assert_array_equal(raw.train.labels, [label for _, label in values])


@settings(deadline=None, max_examples=150)
@given(text=st.one_of(st.binary(max_size=60), st.text("0123456789.,-e\n\"' x", max_size=60)))
def test_any_text_is_data_or_data_error(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    with suppress(DataError):
        read(tmp_path_factory.mktemp("csv"), text)


def test_a_label_longer_than_any_cell_may_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3, column 2: '0{59}: expected a label"):
        read(tmp_path, "1,0\n2,1\n3," + "0" * 140_000 + "1.5\n")


def test_labels_of_a_network_and_no_labels(tmp_path: Path) -> None:
    classes = ("0", "1", "2", "3")
    raw = read(tmp_path, "1,5,2\n3,4,2\n", label_column="last", classes=classes)
    assert (raw.train.labels.tolist(), raw.n_out, raw.has_accuracy) == ([2, 2], 4, True)
    raw = read(tmp_path, "id,a\n0,4\n1,5\n2,7\n", label_column="none", classes=classes)
    assert (raw.train.features.tolist(), raw.has_accuracy) == ([[4], [5], [7]], False)
    assert "no labels" in raw.notes
    with pytest.raises(DataError, match=r"label 2 at row 0 .* those of the network: a, 1$"):
        read(tmp_path, "1,5,2\n3,4,2\n", label_column="last", classes=("a", "1"))
    with pytest.raises(ConfigError, match="none: training needs labels"):
        read(tmp_path, ROWS, label_column="none")
