"""Kinds of option values: each reads the text of a flag and checks values, TOML's as well."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import time
from typing import Any, ClassVar

from hpcpgd.errors import nearest


class Kind(ABC):
    """How the value of an option is read and checked.

    Attributes
    ----------
    metavar : str
        The value's name in the help text.
    word : str or None
        A word that is accepted in place of a value, such as ``auto``.
    read : callable
        Turns a flag's text into the value that TOML would hold; else raises ``ValueError``.
    """

    metavar: str
    word: str | None = None
    read: ClassVar[Any] = str

    def expected(self) -> str:
        """Return what a value must be, for an error message."""
        return self.described() + (f", or '{self.word}'" if self.word else "")

    @abstractmethod
    def described(self) -> str:
        """Return what a value other than the word must be."""

    def from_text(self, text: str) -> Any:
        """Return a flag's text as the value that TOML would hold, or unchanged if it is invalid."""
        try:
            return self.read(text)
        except ValueError:
            return text

    def check(self, value: Any) -> Any:
        """Return the value if it is valid, else raise ``ValueError``."""
        return value if self.word is not None and value == self.word else self.valid(value)

    @abstractmethod
    def valid(self, value: Any) -> Any:
        """Return a value other than the word if it is valid, else raise ``ValueError``."""


UNLIMITED = 2**62  # larger than any count, and a 64-bit integer in kernels


def _range(minimum: int, maximum: int) -> str:
    return f"{minimum} or more" if maximum == UNLIMITED else f"{minimum} to {maximum}"


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number of at least ``minimum``, or one word such as ``auto``."""

    minimum: int
    word: str | None = None
    maximum: int = UNLIMITED
    metavar: str = "N"
    read = int  # also reads underscores, as in 1_000

    def described(self) -> str:
        """Return the range in words."""
        return f"a whole number, {_range(self.minimum, self.maximum)}"

    def valid(self, value: Any) -> int:
        """Return the number."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError
        if value > UNLIMITED:
            raise ValueError(", at most 2**62")
        if not self.minimum <= value <= self.maximum:
            raise ValueError
        return value


@dataclass(frozen=True)
class Real(Kind):
    """A finite number in an interval, or one word."""

    above: float
    below: float = math.inf
    include_above: bool = False
    word: str | None = None
    metavar: str = "X"
    read = float

    def described(self) -> str:
        """Return the interval in words."""
        low = f"{'at least' if self.include_above else 'above'} {self.above:g}"
        high = f" and below {self.below:g}" if self.below < math.inf else ""
        return f"a number {low}{high}"

    def valid(self, value: Any) -> float:
        """Return the number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        try:
            number = float(value)
        except OverflowError:
            raise ValueError from None
        if not math.isfinite(number) or number >= self.below or number < self.above:
            raise ValueError
        if number == self.above and not self.include_above:
            raise ValueError
        return number


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words; ``hints`` say what certain other words may mean."""

    choices: tuple[str, ...]
    metavar: str = ""
    hints: Mapping[str, str] = field(default_factory=dict, hash=False)

    def described(self) -> str:
        """Return the list of words."""
        return "one of " + ", ".join(self.choices)

    def valid(self, value: Any) -> str:
        """Return the word, or raise ``ValueError`` with the nearest one."""
        if value not in self.choices:
            if not isinstance(value, str):
                raise ValueError
            raise ValueError(self.hints.get(value) or nearest(value, self.choices))
        return str(value)


@dataclass(frozen=True)
class Choices(Choice):
    """One or more of a few words, separated by commas."""

    def described(self) -> str:
        """Return the list of words."""
        return f"{super().described()}, or several separated by commas"

    def valid(self, value: Any) -> str:
        """Return the words, or raise ``ValueError`` with the one nearest to a wrong word."""
        if isinstance(value, list | tuple):
            value = ",".join(map(str, value))
        if not isinstance(value, str):
            raise ValueError
        return ",".join(super(Choices, self).valid(word.strip()) for word in value.split(","))


@dataclass(frozen=True)
class Integers(Kind):
    """A list of whole numbers, on the command line separated by commas."""

    minimum: int
    maximum: int
    most: int = 1000
    metavar: str = "N,N,..."

    def described(self) -> str:
        """Return the range in words."""
        each = _range(self.minimum, self.maximum)
        return f"at most {self.most} whole numbers, each {each}, such as 1024,1024"

    @staticmethod
    def read(text: str) -> list[int]:
        """Split at the commas."""
        return [int(part) for part in text.split(",")]

    def valid(self, value: Any) -> tuple[int, ...]:
        """Return the numbers as a tuple."""
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= self.most:
            raise ValueError
        one = Integer(self.minimum, maximum=self.maximum)
        return tuple(one.valid(item) for item in value)


@dataclass(frozen=True)
class Text(Kind):
    """A text that is not empty, checked further by ``validate``."""

    metavar: str
    validate: Callable[[str], object] | None = None

    def described(self) -> str:
        """Return the only requirement in words."""
        return "a text that is not empty"

    def valid(self, value: Any) -> str:
        """Return the text."""
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError
        if self.validate is not None:
            self.validate(value)
        return value


UNITS = {"s": 1, "min": 60, "h": 3600}
_WITH_UNIT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(s|min|h)")
_SLURM = re.compile(r"(?:([0-9]{1,9})-)?([0-9]{1,9}(?::[0-9]{1,9}){0,2})")


@dataclass(frozen=True)
class Every:
    """An interval as a number of steps or as a time; the other field is 0."""

    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Duration(Kind):
    """A time with a unit or as SLURM writes it; if allowed, a number of steps, or one word."""

    steps: bool = False
    word: str | None = None
    metavar: str = "TIME"

    def described(self) -> str:
        """Return the accepted forms in words."""
        steps = "a number of steps such as 500, or " if self.steps else ""
        return f"{steps}a time such as 90s, 10min, 2h or SLURM's 1-12:00:00"

    def valid(self, value: Any) -> str:
        """Return the text."""
        if self.steps and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, time):  # TOML reads 12:00:00 without quotes as a time of day
            value = value.isoformat()
        if not isinstance(value, str):
            raise ValueError
        self.parse(value)
        return value

    def parse(self, text: str) -> Every:
        """Return the steps or seconds that a text means, or raise ``ValueError``."""
        if self.steps and text.isdecimal() and text.isascii():
            return Every(steps=int(Integer(1).check(int(text))))
        match = _WITH_UNIT.fullmatch(text)
        seconds = float(match[1]) * UNITS[match[2]] if match else _slurm_seconds(text)
        if seconds == 0:
            raise ValueError
        return Every(seconds=seconds)


def _slurm_seconds(text: str) -> float:
    """Return the seconds of m:s, h:m:s, d-h, d-h:m or d-h:m:s.

    A plain number, minutes in SLURM, is refused, as users may mean seconds or steps.
    """
    match = _SLURM.fullmatch(text)
    if match is None or (match[1] is None and ":" not in text):
        raise ValueError
    parts = [int(part) for part in match[2].split(":")]
    zeros = [0] * (3 - len(parts))
    hours, minutes, seconds = zeros + parts if match[1] is None else parts + zeros
    return 3600.0 * (24 * int(match[1] or 0) + hours) + 60 * minutes + seconds


@dataclass(frozen=True)
class Flag(Kind):
    """True or false; on the command line the flag alone means true."""

    metavar: str = ""

    def described(self) -> str:
        """Return the two values in words."""
        return "true or false"

    def valid(self, value: Any) -> bool:
        """Return the boolean."""
        if not isinstance(value, bool):
            raise ValueError
        return value
