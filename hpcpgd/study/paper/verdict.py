"""The verdicts on claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOLDS, DOES_NOT, NOT_RUN = "holds", "does not", "not run here"


@dataclass(frozen=True)
class Verdict:
    """One claim: its letter, its words, our numbers, and whether it holds."""

    letter: str
    claim: str
    numbers: str
    verdict: str


# The numbers of a row or network as a text, and whether the claim holds there.
Seen = list[tuple[str, bool]]


def claims_text(verdicts: Sequence[Verdict]) -> str:
    """Return a line for each claim of the paper's section 6."""
    return "\n".join(
        f"({v.letter}) {v.verdict}: {v.claim}" + (f": {v.numbers}" if v.numbers else "")
        for v in verdicts
    )


def judged(
    letter: str, claim: str, seen: Seen, *, whole: bool = True, fair: bool = True, what: str = ""
) -> Verdict:
    """Return the verdict on a claim.

    Without numbers, or if the comparison is not ``fair``, the claim was not run.  Numbers for
    less than the ``whole`` claim can refute it, but cannot confirm it.  ``what`` stands before
    the numbers.
    """
    good = all(holds for _, holds in seen)
    numbers = what * bool(seen) + "; ".join(text for text, _ in seen)
    if not (seen and fair) or (good and not whole):
        return Verdict(letter, claim, numbers, NOT_RUN)
    return Verdict(letter, claim, numbers, HOLDS if good else DOES_NOT)
