"""A text file with a table, and what a first pass over its lines shows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from hpcpgd.data import guard
from hpcpgd.data.columns import Columns, inspect
from hpcpgd.data.dialect import SEPARATORS, Dialect, detect
from hpcpgd.data.lines import lines, opened
from hpcpgd.errors import DataError

SAMPLE = 20  # lines from which separators and columns are inferred


class Table(NamedTuple):
    """A file, and what a first pass over it shows; ``rows`` counts the rows of examples."""

    path: Path
    dialect: Dialect
    columns: Columns
    rows: int

    def body(self) -> Iterator[tuple[int, str]]:
        """Yield the number and the text of each line below the header."""
        with opened(self.path) as file:
            yield from islice(lines(file, self.path), bool(self.columns.names), None)

    def content(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number and the cells of each line below the header."""
        return ((number, self.dialect.cells(line)) for number, line in self.body())

    def cell(self, row: int, column: int) -> str:
        """Return ``PATH: line 7, column 2 ('age'): '1e39'`` for a message."""
        number, cells = next(islice(self.content(), row, None))
        return f"{self.path}: line {number}, {self.columns.describe(column)}: {cells[column]!r:.60}"


def scan(path: Path, label_column: str) -> Table:
    """Read a file once and return its form.

    Raises
    ------
    DataError
        If it has no rows, only one column, or a quote that does not end.
    """
    with opened(path) as file:
        content = lines(file, path)
        sample = [line for _, line in islice(content, SAMPLE)]
        rows, quoted = len(sample), any('"' in line for line in sample)
        commas: list[str] = []
        for _, line in content:
            rows += 1
            quoted = quoted or '"' in line
            if "," in line and len(commas) < SAMPLE:  # perhaps the first decimal commas
                commas.append(line)
    if not sample:
        raise DataError(f"{path}: has no rows")
    dialect = detect(sample)
    if dialect.separator != "," and commas:
        dialect = detect([*sample, *commas])
    if quoted:
        _check_quotes(path, dialect)
    columns = inspect(dialect, sample, label_column, str(path))
    if columns.count < 2:
        raise DataError(
            f"{path}: has one column, expected features and labels in cells separated by"
            f" {', '.join(SEPARATORS.values())}"
        )
    if rows == bool(columns.names):
        raise DataError(f"{path}: has no rows")
    return Table(path, dialect, columns, rows - bool(columns.names))


def _check_quotes(path: Path, dialect: Dialect) -> None:
    """Refuse a quote that does not end with its cell: the lines after it would become one cell."""
    with opened(path) as file:
        for number, line in lines(file, path):
            try:
                dialect.cells(line)
            except csv.Error as error:
                raise DataError(
                    f"{path}: line {number}: {guard.one_line(error)}: expected a quote to end in"
                    " the line and the cell in which it begins; quotes within a cell are doubled"
                ) from error
