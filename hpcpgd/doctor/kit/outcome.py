"""The outcome of a step of a kit: one line, even if it failed, and then the next step follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hpcpgd.errors import HpcpgdError, printable

OK, FAILED, LEFT_OUT = "ok", "failed", "left out"
SHORTEST = 10.0  # seconds; no program that starts MPI ends in less
NO_TIME = "no time was left"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step.

    Attributes
    ----------
    status : str
        ``OK``, ``FAILED`` or ``LEFT_OUT``.
    line : str
        The result, or why there is none.
    text : str
        The output of its program.
    odd : tuple of str
        Lines on results that look wrong.
    seconds : float
        Time that it took.
    """

    status: str
    line: str
    text: str = ""
    odd: tuple[str, ...] = ()
    name: str = ""
    seconds: float = 0.0


def attempt(name: str, step: Callable[[], Outcome], end: float) -> Outcome:
    """Make a step, unless ``end`` is too near; an exception becomes the line of the outcome."""
    begin = time.monotonic()
    if end - begin < SHORTEST:
        return Outcome(LEFT_OUT, NO_TIME, name=name)
    try:
        outcome = step()
    except HpcpgdError as error:
        outcome = Outcome(FAILED, str(error))
    except Exception as error:  # a defect of hpcpgd must not end the other steps
        outcome = Outcome(FAILED, printable(f"{type(error).__name__}: {error}"))
    return replace(outcome, name=name, seconds=time.monotonic() - begin)
