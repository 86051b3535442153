"""A kind of fault: a number of trials, each of which returns what was wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.faults.jobs import WORDS, finish, start, told


class Undisturbed:
    """The undisturbed run, made when it is first needed; ``more`` words end its command line."""

    def __init__(self, folder: Path, *more: str) -> None:
        self._output = folder / f"whole{''.join(more)}.h5"
        self._words = [*WORDS, *more, "--output", str(self._output)]

    @cached_property
    def _made(self) -> tuple[float, dict[str, Any]]:
        begin = perf_counter()
        finish(start(self._words, 1))
        return perf_counter() - begin, told(self._output)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self._made[0]

    @property
    def told(self) -> dict[str, Any]:
        """The values that disturbed runs must have in common with it, to the last bit."""
        return self._made[1]


@dataclass(frozen=True)
class Trial:
    """One of a kind.

    Attributes
    ----------
    draw : random.Random
        Seeded by the check's seed, the kind and the number.
    folder : Path
        Empty, and removed afterwards.
    quick : bool
        Whether a short one is enough.
    """

    number: int
    draw: random.Random
    folder: Path
    whole: Undisturbed
    quick: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes
    ----------
    full, quick : int
        Trials in full, and in the tests.
    run : callable
        Makes a trial and returns what is wrong, "" if nothing is.
    counts : dict
        What the trials count besides, for the JSON; filled by ``run``.
    """

    full: int
    quick: int
    run: Callable[[Trial], str]
    counts: dict[str, int] = field(default_factory=dict)
