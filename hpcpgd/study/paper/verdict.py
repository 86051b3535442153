"""What is said of a claim."""

from __future__ import annotations

from dataclasses import dataclass

HOLDS, DOES_NOT, NOT_RUN = "holds", "does not", "not run here"


@dataclass(frozen=True)
class Verdict:
    """One claim: its letter, its words, our numbers, and whether it holds."""

    letter: str
    claim: str
    numbers: str
    verdict: str


def said(texts: list[str]) -> str:
    """Join what is said of several rows and networks."""
    return "; ".join(texts)


def over(found: bool, good: bool, whole: bool = True) -> str:
    """Return the verdict, where nothing was ``found`` that the claim was not run.

    Not the ``whole`` of what it speaks of can break it, but cannot make it hold.
    """
    if not found or (good and not whole):
        return NOT_RUN
    return HOLDS if good else DOES_NOT
