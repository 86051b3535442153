"""CSV files: numbers separated by commas, the label in the last column, a header if any."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

from hpcpgd.data import guard
from hpcpgd.data.assemble import Parts
from hpcpgd.data.checks import Named
from hpcpgd.data.dataset import Array
from hpcpgd.errors import DataError

TEST_FRACTION = 0.2  # held out where the user names no other part
LONGEST_LINE = 2**24  # characters: 25 times as much memory, cell by cell


class _Layout(NamedTuple):
    """What a first pass over the file tells."""

    header_lines: int  # lines before the first row
    columns: int
    rows: int


def read(path: Path) -> Parts:
    """Read a CSV file.

    Returns
    -------
    mapping of str to (Named, Named)
        ``train`` alone: float64 features (rows, columns - 1) and int32 labels (rows,).

    Raises
    ------
    DataError
        If the file is missing, not text, has rows of different lengths, or cells that are
        not numbers; the message names the line.
    """
    guard.ensure_fits(guard.file_size(path), path)
    with guard.refuse_bad_file(path):
        layout = _scan(path)
        # Twice: the table as parsed, and its features on their own.
        guard.ensure_fits(2 * 8 * layout.rows * layout.columns, path)
        table = _parse(path, layout)
        labels = _labels(table[:, -1], path, layout)
    return {"train": (Named(table[:, :-1], str(path)), Named(labels, f"{path}: last column"))}


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", newline=None)


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the number, from 1, and the cells of each line that is not empty."""
    for number, line in enumerate(file, 1):
        if len(line) > LONGEST_LINE:
            raise DataError(f"{file.name}: line {number} has more than {LONGEST_LINE} characters")
        if line != "\n":
            yield number, next(csv.reader([line]), [""])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _scan(path: Path) -> _Layout:
    with _open(path) as file:
        number, cells = next(_lines(file), (0, []))
        # Names of columns may be numbers (pandas writes 0,1,2); the label's is a word.
        header = bool(cells) and not _is_number(cells[-1])
        rows = sum(1 for line in file if line != "\n") + (bool(cells) and not header)
    if not rows:
        raise DataError(f"{path}: has no rows")
    return _Layout(number if header else 0, len(cells), rows)


def _parse(path: Path, layout: _Layout) -> npt.NDArray[np.float64]:
    try:
        with _open(path) as file:
            table: npt.NDArray[np.float64] = np.loadtxt(
                file,
                np.float64,
                comments=None,
                delimiter=",",
                skiprows=layout.header_lines,
                ndmin=2,
                quotechar='"',
            )
    except ValueError as error:
        _diagnose(path, layout)
        raise DataError(f"{path}: {guard.one_line(error)}") from error
    if table.shape[1] != layout.columns:
        _diagnose(path, layout)
    return table


def _diagnose(path: Path, layout: _Layout) -> None:
    """Raise the error that names the first bad line."""
    with _open(path) as file:
        for number, cells in _lines(file):
            if number <= layout.header_lines:
                continue
            if len(cells) != layout.columns:
                raise DataError(
                    f"{path}: line {number} has {len(cells)} columns, expected {layout.columns}"
                )
            for column, cell in enumerate(cells, 1):
                if not _is_number(cell):
                    raise DataError(
                        f"{path}: line {number}, column {column}: {cell[:40]!r} is not a number"
                    )


def _labels(values: Array, path: Path, layout: _Layout) -> npt.NDArray[np.int32]:
    good = (np.abs(values) < 2**31) & (values == np.rint(values))
    if not good.all():
        row = int(good.argmin())
        with _open(path) as file:
            data = (line for line in _lines(file) if line[0] > layout.header_lines)
            number, cells = next(islice(data, row, None))
        raise DataError(
            f"{path}: line {number}: label {cells[-1][:40]!r} in the last column,"
            " expected an integer 0 to classes - 1"
        )
    return values.astype(np.int32)
