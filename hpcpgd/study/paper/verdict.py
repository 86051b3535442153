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


def over(found: bool, good: bool) -> str:
    """Return the verdict, where nothing was ``found`` that the claim was not run."""
    if not found:
        return NOT_RUN
    return HOLDS if good else DOES_NOT
