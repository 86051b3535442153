"""The columns of a text table: whether the first line names them, which holds the labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hpcpgd.data.dialect import Dialect
from hpcpgd.errors import DataError, nearest

LABEL_NAMES = ("label", "labels", "class", "classes", "target", "targets", "category", "digit", "y")
INDEX_NAMES = ("", "id", "index", "unnamed: 0", "rownames")


@dataclass(frozen=True)
class Columns:
    """What the first lines of a table show about its columns.

    Attributes
    ----------
    names : tuple of str
        The cells of the header; empty if there is no header.
    label : int
        The column of the labels, counted from 0; ``count`` if there is none.
    text : bool
        Whether labels are words, not numbers.
    why : str
        How the column of the labels was chosen; "" if the user named it.
    """

    count: int
    names: tuple[str, ...]
    label: int
    text: bool
    why: str

    def describe(self, column: int) -> str:
        """Return ``column 3 ('age')``, with the number counted from 1."""
        name = f" ({self.names[column][:40]!r})" if self.names else ""
        return f"column {column + 1}{name}"

    def notes(self) -> list[str]:
        """Return what was inferred, for the user."""
        header = "the first line is a header" if self.names else "no header"
        if self.names and all(name.isdecimal() for name in self.names):
            header += ", as it counts the columns (if it is an example, write names above it)"
        why = f" ({self.why})" if self.why else ""
        if self.label == self.count:
            return [header, "no labels"]
        return [header, f"labels in {self.describe(self.label)}{why}"]


def inspect(dialect: Dialect, sample: Sequence[str], wanted: str, where: str) -> Columns:
    """Return the columns of a table from its first lines.

    Parameters
    ----------
    sample : sequence of str
        At least one line.
    wanted : str
        ``auto``, ``first``, ``last``, ``none``, a header's name, or a number counted from 1.
    where : str
        The file, for messages.

    Raises
    ------
    DataError
        If the file lacks the requested column, or several columns could hold the labels.
    """
    rows = [dialect.cells(line) for line in sample]
    names = tuple(rows[0]) if _is_header(dialect, rows, wanted) else ()
    body = rows[1:] if names else rows
    if wanted == "auto":
        label, why = _guess(dialect, names, body or rows, where)
    else:
        label, why = find_column(wanted, names, len(rows[0]), where), ""
    cells = [row[label] for row in body if label < len(row)]
    text = any(dialect.number(cell) is None for cell in cells if cell)
    return Columns(len(rows[0]), names, label, text, why)


def _is_header(dialect: Dialect, rows: Sequence[Sequence[str]], wanted: str) -> bool:
    """Return whether the first line names the columns, by words or by their numbers."""
    first, below = rows[0], rows[1] if len(rows) > 1 else []
    numbers = [cell for cell in first if dialect.number(cell) is not None]
    words = [i for i, cell in enumerate(first) if cell and dialect.number(cell) is None]
    if not numbers:
        return bool(words)
    if wanted in [first[i] for i in words]:
        return True
    if any(first[i].casefold() in LABEL_NAMES for i in words):
        return True
    if not _counting(numbers):
        return False
    if any(i < len(below) and dialect.number(below[i]) is not None for i in words):
        return True
    return len(numbers) > 2  # pandas numbers columns that have no names


def _counting(numbers: Sequence[str]) -> bool:
    """Return whether cells are 0, 1, 2 and so on, or 1, 2, 3 and so on."""
    return any(all(cell == str(n + i) for i, cell in enumerate(numbers)) for n in (0, 1))


def _guess(
    dialect: Dialect, names: tuple[str, ...], body: Sequence[Sequence[str]], where: str
) -> tuple[int, str]:
    """Return the column that probably holds the labels, and the reason."""
    by_name = [i for i, name in enumerate(names) if name.casefold() in LABEL_NAMES]
    if len(by_name) > 1:
        candidates = " and ".join(repr(names[i]) for i in by_name)
        raise DataError(
            f"{where}: columns {candidates} could both be the labels: choose with --label-column"
        )
    if by_name:
        return by_name[0], "by its name"
    columns = [[cell for cell in column if cell] for column in zip(*body, strict=False)]
    words = [
        i
        for i, column in enumerate(columns)
        if column
        and all(any(map(str.isalpha, cell)) for cell in column)
        and all(dialect.number(cell) is None for cell in column)
    ]
    if len(words) == 1:
        return words[0], "the only one with words"
    last = len(body[0]) - 1
    if last and _repeats(row[0] for row in body) and _repeats(row[-1] for row in body):
        return last, "the last; if it is the first: --label-column first"
    return last, "the last; --label-column names another"


def _repeats(cells: Iterable[str]) -> bool:
    """Return whether cells look like labels: whole numbers, some of them more than once."""
    column = list(cells)
    return all(cell.isdecimal() for cell in column) and 1 < len(set(column)) < len(column)


def find_column(wanted: str, names: tuple[str, ...], count: int, where: str) -> int:
    """Return the column that the user requested, counted from 0.

    Raises
    ------
    DataError
        If there is no such column, or more than one.
    """
    if wanted in names:
        if names.count(wanted) > 1:
            raise DataError(f"{where}: has {names.count(wanted)} columns named {wanted!r}")
        return names.index(wanted)
    if wanted == "none":
        return count
    if wanted in ("first", "last"):
        return 0 if wanted == "first" else count - 1
    if wanted.isdecimal() and len(wanted) < 10 and 1 <= int(wanted) <= count:
        return int(wanted) - 1
    header = f"the header has {', '.join(map(repr, names[:20]))}" if names else "it has no header"
    raise DataError(
        f"{where}: --label-column {wanted}: no such column: expected first, last, 1 to {count} or a"
        f" name, and {header}{nearest(wanted, names)}"
    )
