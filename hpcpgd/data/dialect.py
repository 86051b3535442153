"""How a text file writes its table: the separator of cells, and the decimal mark."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import NamedTuple

from hpcpgd.data.lines import LONGEST_LINE

csv.field_size_limit(LONGEST_LINE)  # too long lines are refused before csv sees a cell

# In the order of preference if several fit equally well; None is any white space.
SEPARATORS: dict[str | None, str] = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "bars",
    None: "spaces",
}


# With decimal commas, a point, as between thousands, must not be read as a decimal mark.
_POINTED = str.maketrans({",": ".", ".": "\x01"})
_ORIGINAL = str.maketrans({".": ",", "\x01": "."})
_SEPARATOR = "\x02"  # replaces a separator within a quoted cell


class Dialect(NamedTuple):
    """The form of a table's lines."""

    separator: str | None = ","  # between cells; None is white space
    decimal: str = "."  # the decimal mark
    trailing: bool = False  # whether lines have a separator after the last cell

    def bare(self, line: str) -> str:
        """Return a line without the separator after its last cell."""
        if self.trailing and self.separator is not None:
            return line.rstrip(" ").removesuffix(self.separator)
        return line

    def cells(self, line: str) -> list[str]:
        """Return the cells of a line, without the space around them.

        Raises
        ------
        csv.Error
            If a quote does not end in this line, or other text follows it within the cell.
        """
        text, separator = self.bare(line), self.separator
        if '"' not in text:
            return [cell.strip() for cell in text.split(separator)]
        if separator is None:
            text, separator = text.replace("\t", " ").strip(), " "
        row = next(csv.reader([text], delimiter=separator, skipinitialspace=True, strict=True))
        return [cell.strip() for cell in row]

    def plain(self, line: str) -> str:
        """Return a line without quotes and with decimal points, as NumPy reads it."""
        if '"' not in line and self.decimal != self.separator:
            return self.pointed(self.bare(line))
        between = " " if self.separator is None else self.separator
        cells = (self.pointed(cell).replace(between, _SEPARATOR) for cell in self.cells(line))
        return between.join(cells)

    def number(self, cell: str) -> float | None:
        """Return the number that a cell holds, or None."""
        try:
            return float(self.pointed(cell)) if cell.isascii() and "_" not in cell else None
        except ValueError:
            return None

    def pointed(self, text: str) -> str:
        """Return a text with decimal points; points of a text with decimal commas are masked."""
        return text if self.decimal == "." else text.translate(_POINTED)

    def original(self, text: str) -> str:
        """Return a cell as it was before `plain`, which this reverses."""
        text = text if self.decimal == "." else text.translate(_ORIGINAL)
        return text.replace(_SEPARATOR, self.separator or " ")

    def notes(self) -> list[str]:
        """Return how the form differs from that of most files, for the user."""
        words = [f"cells separated by {SEPARATORS[self.separator]}"] * (self.separator != ",")
        words += ["decimal commas"] if self.decimal == "," else []
        return words + (["a separator after the last cell"] if self.trailing else [])


def detect(sample: Sequence[str]) -> Dialect:
    """Return the dialect in which the cells of the first lines are numbers most often.

    Parameters
    ----------
    sample : sequence of str
        The first lines; if there are several, the first of them may be a header.
    """
    candidates = [Dialect(separator) for separator in SEPARATORS]
    candidates += [Dialect(separator, ",") for separator in SEPARATORS]
    body = sample[1:] or sample
    best = max(candidates, key=lambda dialect: _share_of_numbers(dialect, body))  # the first
    try:
        rows = [best.cells(line) for line in sample]
    except csv.Error:  # the check of all quotes will name the line
        return best
    return best._replace(trailing=all(len(row) > 2 and not row[-1] for row in rows))


def _share_of_numbers(dialect: Dialect, body: Sequence[str]) -> float:
    """Return the share of cells that are numbers, or -1 if the separator does not occur."""
    try:
        rows = [dialect.cells(line) for line in body]
    except csv.Error:
        return -1.0
    if dialect.separator != "," and max(map(len, rows)) < 2:
        return -1.0
    cells = [cell for row in rows for cell in row]
    return sum(dialect.number(cell) is not None for cell in cells) / len(cells)
