"""What a user can choose for figures: their size, title and formats."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hpcpgd.errors import UsageError

FORMATS = ("png", "pdf")  # unless others are asked for
ALL_FORMATS = (*FORMATS, "svg")
SMALLEST, LARGEST = 3, 100  # inches


@dataclass(frozen=True)
class FigureForm:
    """The form of figures; without a size they fit the content, without a title they name it."""

    size: tuple[float, float] | None = None  # width and height in inches
    title: str | None = None
    formats: tuple[str, ...] = FORMATS


BY_CONTENT = FigureForm()


def size(text: str) -> tuple[float, float]:
    """Return width and height of a flag such as ``7x4.5``; UsageError for others."""
    numbers = re.fullmatch(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)", text, re.ASCII)
    inches = [float(number) for number in numbers.groups()] if numbers else [0.0, 0.0]
    if not all(SMALLEST <= number <= LARGEST for number in inches):
        raise UsageError(
            f"--size {text}: expected width x height in inches, such as 7x4.5, "
            f"each from {SMALLEST} to {LARGEST}"
        )
    return inches[0], inches[1]


def formats(text: str) -> tuple[str, ...]:
    """Return the formats of a flag such as ``png,pdf``; UsageError for one that is not known."""
    names = tuple(dict.fromkeys(text.split(",")))
    if not {*names} <= {*ALL_FORMATS}:
        expected = f"one or several of {', '.join(ALL_FORMATS)}, with commas"
        raise UsageError(f"--format {text}: expected {expected}")
    return names
