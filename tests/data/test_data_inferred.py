"""Tables of text as people have them: what is inferred, and the line that says so."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcpgd.data import check_name, load
from hpcpgd.data.dataset import RawData
from hpcpgd.errors import ConfigError, DataError

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
        ("0,1,2\n" + ROWS, "the first line is a header, as it counts the columns"),
        ("1,2,3\n" + ROWS, "write names above it); labels in column 3 ('3')"),
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
        (re.sub(r"(\S+),(\S+),(\S+)", r'\1, "\2", "\3"', ROWS), "no header; labels in column 3"),
        ("".join(f'"{row}"\n'.replace(",", '","') for row in ROWS.split()), "no header"),
        ('"1","2,5","0"\n"-3,0","400","1"\n"5","6","2"\n', "decimal commas; no header"),
        ('"a length" "b" "label"\n' + ROWS.replace(",", " "), "labels in column 3 ('label')"),
        ("Id,a,b,label\n1,1,2.5,0\n2,-3,4e2,1\n3,5,6,2\n", "column 1 ('Id') left out: it counts"),
    ],
)
def test_a_table_is_read_and_a_line_says_how(tmp_path: Path, text: str, note: str) -> None:
    raw = read(tmp_path / "data.csv", text)
    np.testing.assert_array_equal(raw.train.features, FEATURES)
    np.testing.assert_array_equal(raw.train.labels, [0, 1, 2])
    assert note in "; ".join(raw.notes)


def test_decimal_commas_that_begin_late(tmp_path: Path) -> None:
    raw = read(tmp_path / "a.csv", "1;2;0\n3;4;1\n" * 30 + "1,5;2;0\n")
    assert raw.train.features[-1, 0] == 1.5
    assert "decimal commas" in raw.notes


def test_a_first_line_whose_label_is_nowhere_else(tmp_path: Path) -> None:
    """It may be a header of years; naming its word makes it one."""
    text = "2015,2016,country\n" + "1,2,de\n2,3,fr\n" * 9
    raw = read(tmp_path / "a.csv", text)
    assert "label 'country' is in the first line alone" in raw.notes[2]
    assert "--label-column country" in raw.notes[2]
    raw = read(tmp_path / "a.csv", text, label_column="country")
    assert (raw.train.rows, raw.n_out) == (18, 2)
    text = "2015,2016,2019\n" + "1,2,0\n2,3,1\n" * 9
    assert "write label in place of 2019" in read(tmp_path / "b.csv", text).notes[2]
    raw = read(tmp_path / "b.csv", text.replace("2019", "label"))
    assert (raw.train.rows, raw.n_out) == (18, 2)


def test_words_with_separators_in_quotes(tmp_path: Path) -> None:
    raw = read(tmp_path / "a.csv", '0, 1, "a, b0"\n1, 0, "say ""c"""\n' * 3)
    assert raw.class_names == ("a, b0", 'say "c"')
    raw = read(tmp_path / "a.txt", '0 1 "c 0" \n1 2 "c 1" \n' * 3)
    assert raw.class_names == ("c 0", "c 1")


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
        with pytest.raises(ConfigError, match="label-column first applies only to text files"):
            load(name, seed=0, label_column="first")


def test_mnist_as_csv_without_a_header(tmp_path: Path) -> None:
    """The label first, and the last pixel 0 or 1: both could be the labels, and a line says so."""
    lines = "5,0,1\n3,7,0\n5,9,1\n3,1,0\n"
    raw = read(tmp_path / "a.csv", lines)
    assert "the last; if it is the first: --label-column first" in raw.notes[1]
    raw = read(tmp_path / "a.csv", lines, label_column="first")
    assert raw.class_names == ("3", "5")


def test_what_float32_does_not_hold_goes_with_float64(tmp_path: Path) -> None:
    text = "1,1e39,0\n2,3,1\n"
    with pytest.raises(DataError, match=r"line 1, column 2: '1e39': is beyond .* --dtype float64"):
        read(tmp_path / "a.csv", text)
    assert read(tmp_path / "a.csv", text, dtype="float64").train.features[0, 1] == 1e39


def test_as_many_classes_as_rows_are_doubted(tmp_path: Path) -> None:
    text = "".join(f"{i},{7 * i}\n" for i in range(30))
    notes = read(tmp_path / "a.csv", text).notes
    assert "30 classes in 30 rows: are these labels? --task regression predicts numbers" in notes
