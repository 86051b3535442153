"""Text files with a table of numbers: each row is an example, one column holds the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcpgd.data import checks, guard
from hpcpgd.data.checks import Named
from hpcpgd.data.columns import INDEX_NAMES, find_column
from hpcpgd.data.dataset import Array
from hpcpgd.data.reading import Reading
from hpcpgd.data.text_table import Table, scan
from hpcpgd.errors import DataError

TEST_FRACTION = 0.2  # held out if the user gives no fraction
FEW = 10  # in fewer rows, a label that occurs once is no sign of a header


def read(path: Path, label_column: str, largest: float, regression: bool = False) -> Reading:
    """Read a text file.

    Parameters
    ----------
    label_column : str
        ``auto``, ``first``, ``last``, ``none``, a header's name, or a number counted from 1.
    largest : float
        Largest magnitude that a feature may have.
    regression : bool
        Whether labels are numbers to predict; then ``label_column`` may have several names or
        numbers, separated by commas.

    Returns
    -------
    Reading
        Only ``train``: float64 features (rows, n_in) and int32 labels (rows,), or float64
        targets (rows, n_out).  Columns that are neither labels nor an index of the rows are
        features.

    Raises
    ------
    DataError
        If the file is missing, is not text, has rows of different lengths, or has cells that
        are not numbers; the message names line and column.
    """
    guard.ensure_fits(guard.file_size(path), path)
    with guard.refuse_bad_file(path):
        wanted = label_column.split(",") if regression else [label_column]
        table = scan(path, wanted[0])
        # Twice: the parsed table, and the copy of its features.
        guard.ensure_fits(2 * 8 * table.rows * table.columns.count, path)
        values, names = _parse(table)
        labelled = table.columns.label < table.columns.count
        columns = [table.columns.label] * labelled
        if regression and labelled:
            columns, names = _targets(table, wanted, path)
            labels = values[:, columns]
        else:
            labels = values[:, table.columns.label] if names else _labels(values, table)
        index = [column for column in _index(values, table) if column not in columns]
        _check_range(values, table, largest)
    features = np.delete(values, [*columns, *index], axis=1)
    notes = [*table.dialect.notes(), *table.columns.notes()]
    notes += _perhaps_a_header(labels, table) if labelled and not regression else []
    notes += [f"targets also in {table.columns.describe(i)}" for i in columns[1:]]
    notes += [f"{table.columns.describe(i)} left out: it counts the rows" for i in index]
    where = f"{path}: {table.columns.describe(table.columns.label)}" if labelled else str(path)
    labels = labels if regression else labels.astype(np.int32)
    parts = {"train": (Named(features, str(path)), Named(labels, where))}
    return Reading(parts, tuple(notes), names, labelled)


def _parse(table: Table) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Return all cells as numbers, and the sorted words if the labels are words."""
    codes: dict[str, int] = {}
    dialect = table.dialect
    converters: dict[int | str, Callable[[str], float]] = {}
    if table.columns.text:
        converters[table.columns.label] = lambda cell: codes.setdefault(
            dialect.original(cell.strip()), len(codes)
        )
    try:
        values: npt.NDArray[np.float64] = np.loadtxt(
            (dialect.plain(line) for _, line in table.body()),
            np.float64,
            comments=None,
            delimiter=dialect.separator,
            converters=converters,
            ndmin=2,
            encoding=None,
        )
    except ValueError as error:
        _diagnose(table)
        raise DataError(f"{table.path}: {guard.one_line(error)}") from error
    if values.shape[1] != table.columns.count:
        _diagnose(table)
    names = tuple(sorted(codes))
    if names:
        _check_names(table, names)
        order = np.argsort(np.argsort(list(codes)))  # from the order of appearance
        column = values[:, table.columns.label]
        column[...] = order[column.astype(np.int64)]
    return values, names


def _targets(table: Table, wanted: list[str], path: Path) -> tuple[list[int], tuple[str, ...]]:
    """Return the columns of a regression's targets, and their names if they have different ones."""
    columns = table.columns
    if columns.text:
        raise DataError(
            f"{path}: {columns.describe(columns.label)} has words, expected numbers for task "
            "regression: --label-column names the columns of the targets"
        )
    others = [find_column(name, columns.names, columns.count, str(path)) for name in wanted[1:]]
    numbers = [columns.label, *others]
    if len(set(numbers)) < len(numbers):
        raise DataError(f"{path}: --label-column {','.join(wanted)}: names a column twice")
    names = tuple(columns.names[i] for i in numbers) if columns.names else ()
    return numbers, names if len(set(names)) == len(names) else ()


def _check_names(table: Table, names: tuple[str, ...]) -> None:
    """Refuse words that cannot be labels: blanks, numbers, or another word in each row."""
    column = table.columns.label
    for row, (_, cells) in enumerate(table.content()):
        word = cells[column]
        if not word or not word.isprintable():
            kind = (
                "blank: fill it in, or remove the line"
                if not word
                else "not UTF-8 text: save the file as UTF-8"
            )
            raise DataError(f"{table.cell(row, column)}: the label is {kind}")
        if table.dialect.number(word) is not None:
            raise DataError(
                f"{table.cell(row, column)}: is a number among labels that are words, such as"
                f" {next(n for n in names if table.dialect.number(n) is None)!r:.40}"
            )
    if len(names) == table.rows > 2:
        raise DataError(
            f"{table.path}: {table.columns.describe(column)} has another word in each of"
            f" {table.rows} rows, expected labels; --label-column names the column of the labels"
        )


def _diagnose(table: Table) -> None:
    """Raise an error that names the first bad cell or line; return if there is none."""
    for row, (number, cells) in enumerate(table.content()):
        if len(cells) != table.columns.count:
            more = row == 0 and table.columns.names and len(cells) == table.columns.count + 1
            hint = "; a cell with a separator in it needs quotes"
            if more and not cells[-1]:
                hint = ": end either all lines or no line with a separator, the header included"
            elif more:
                hint = ": the header lacks a name (R's write.table needs row.names=FALSE)"
            raise DataError(
                f"{table.path}: line {number} has {len(cells)} cells, expected"
                f" {table.columns.count} as in the first line{hint}"
            )
        for column, cell in enumerate(cells):
            if table.columns.text and column == table.columns.label:
                continue
            if not cell:
                raise DataError(
                    f"{table.cell(row, column)} is blank: fill it in, or remove the line"
                )
            if table.dialect.number(cell) is None:
                raise DataError(
                    f"{table.cell(row, column)} is not a number: fill in what is missing, code"
                    " words as numbers, or remove the column; --label-column names the labels"
                )


def _labels(values: Array, table: Table) -> Array:
    """Return the column of the labels after a check that they are whole numbers; zeros if none."""
    label = table.columns.label
    if label == table.columns.count:
        return np.zeros(len(values))
    column = values[:, label]
    good = (np.abs(column) < 2**31) & (column == np.rint(column))
    if not good.all():
        where = table.cell(int(good.argmin()), label)
        raise DataError(
            f"{where}: expected a label, a whole number or a word;"
            " --label-column names the column of the labels, --task regression predicts numbers"
        )
    return column


def _perhaps_a_header(labels: Array, table: Table) -> list[str]:
    """Return a note if only the first line, read as an example, has its label."""
    if table.columns.names or len(labels) < FEW or (labels[1:] == labels[0]).any():
        return []
    cell = next(table.content())[1][table.columns.label]
    cure = f"--label-column {cell}" if table.columns.text else f"write label in place of {cell}"
    return [f"label {cell!r:.40} is in the first line alone: if that line is a header, {cure}"]


def _check_range(values: Array, table: Table, largest: float) -> None:
    """Refuse values that are not finite or exceed the range of the run's dtype."""
    good = np.abs(values) <= largest  # false for NaN, too
    if not good.all():
        row, column = (int(i) for i in np.argwhere(~good)[0])
        raise DataError(f"{table.cell(row, column)}: {checks.beyond(values[row, column], largest)}")


def _index(values: Array, table: Table) -> list[int]:
    """Return the columns that only number the rows, as data frames write them."""
    counted = np.arange(len(values))
    return [
        i
        for i, name in enumerate(table.columns.names)
        if name.casefold() in INDEX_NAMES
        and i != table.columns.label
        and len(values) > 2
        and any(np.array_equal(values[:, i], counted + first) for first in (0, 1))
    ]
