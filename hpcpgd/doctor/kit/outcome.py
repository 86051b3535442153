"""What became of a step of a kit: one line, whatever happened, and the next step follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hpcpgd.errors import HpcpgdError, printable

OK, FAILED, LEFT_OUT = "ok", "failed", "left out"
SHORTEST = 10.0  # seconds in which no program ends that starts MPI
NO_TIME = "no time was left"


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes
    ----------
    status : str
        ``OK``, ``FAILED`` or ``LEFT_OUT``.
    line : str
        What came out, or why nothing did.
    text : str
        All that its program said.
    odd : tuple of str
        What looks wrong, a line each.
    name : str
        What was tried.
    seconds : float
        That it took.
    """

    status: str
    line: str
    text: str = ""
    odd: tuple[str, ...] = ()
    name: str = ""
    seconds: float = 0.0


def attempt(name: str, step: Callable[[], Outcome], end: float) -> Outcome:
    """Make a step, unless it is so near the ``end``; whatever goes wrong with it is its line."""
    begin = time.monotonic()
    if end - begin < SHORTEST:
        return Outcome(LEFT_OUT, NO_TIME, name=name)
    try:
        outcome = step()
    except HpcpgdError as error:
        outcome = Outcome(FAILED, str(error))
    except Exception as error:  # a defect of ours must not take the other steps along
        outcome = Outcome(FAILED, printable(f"{type(error).__name__}: {error}"))
    return replace(outcome, name=name, seconds=time.monotonic() - begin)
