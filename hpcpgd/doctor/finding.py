"""Findings, one line each; equal findings of several ranks are one line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    level : str
        ``OK``, ``WARNING`` (something is slow or in doubt) or ``PROBLEM`` (training cannot work).
    seen : str
        What was measured or observed.
    cure : str
        What to do, "" if there is nothing to do.  Findings with the same cure are merged, so it
        must not hold a measured number.
    code : int
        The exit code with which training would end, 0 without a problem.
    """

    level: str
    subject: str
    seen: str
    cure: str = ""
    code: int = 0

    def line(self, where: str = "") -> str:
        """Return the finding as one line; ``where`` names the ranks or nodes."""
        cure = f" -> {self.cure}" if self.cure else ""
        return f"{self.level:<8} " + " ".join(f"{self.subject}{where}: {self.seen}{cure}".split())


def ok(subject: str, seen: str) -> Finding:
    """Return a finding without a warning or a problem."""
    return Finding(OK, subject, seen)


def warning(subject: str, seen: str, cure: str) -> Finding:
    """Return a finding of something slow or in doubt."""
    return Finding(WARNING, subject, seen, cure)


def problem(subject: str, seen: str, cure: str, code: int) -> Finding:
    """Return a finding of something that would end training with ``code``."""
    return Finding(PROBLEM, subject, seen, cure, code)


def counted(number: int, what: str) -> str:
    """Return ``"1 rank"`` or ``"2 ranks"``."""
    return f"{number} {what}{'s' * (number != 1)}"


def encode(findings: Sequence[Finding]) -> str:
    """Return findings as text."""
    return json.dumps([asdict(one) for one in findings])


def decode(text: str) -> list[Finding]:
    """Return the findings of ``encode``."""
    return [Finding(**one) for one in json.loads(text)]


@dataclass(frozen=True)
class Place:
    """Where a rank is.

    Attributes
    ----------
    index : int
        Number of the rank on its node; the rank with number 0 reports for the node.
    """

    host: str
    index: int


def merged(findings: Sequence[Sequence[Finding]], places: Sequence[Place]) -> list[str]:
    """Return the lines for the findings of all ranks; equal findings are one line."""
    groups: dict[tuple[str, str, str, int], list[tuple[int, Finding]]] = {}
    asked: dict[str, set[int]] = {}
    for rank, row in enumerate(findings):
        seen = Counter[tuple[str, str, str]]()
        for one in row:
            key = (one.level, one.subject, one.cure)
            seen[key] += 1  # findings of one rank are never one line
            groups.setdefault((*key, seen[key]), []).append((rank, one))
            asked.setdefault(one.subject, set()).add(rank)
    lines = []
    for group in groups.values():
        first, ranks = group[0][1], [rank for rank, _ in group]
        same = len({one.seen for _, one in group}) == 1
        lines.append(first.line(_where(ranks, asked[first.subject], places, same)))
    return lines


def _where(ranks: list[int], asked: set[int], places: Sequence[Place], same: bool) -> str:
    """Name the ranks of a finding, unless all ranks that made the check have the same one."""
    if set(ranks) == asked and same and 0 in asked:
        return ""
    leaders = {rank for rank, place in enumerate(places) if place.index == 0}
    named = hosts(ranks, places) if asked <= leaders else in_words(ranks, places)
    if same:
        return f", {named}"
    return f", {named}, seen by rank {ranks[0]}" if len(ranks) > 1 else f", {named}"


def hosts(ranks: Sequence[int], places: Sequence[Place]) -> str:
    """Return the nodes of some ranks as a phrase."""
    names = list(dict.fromkeys(places[rank].host for rank in ranks))
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"on {shown}"


def in_words(ranks: Sequence[int], places: Sequence[Place]) -> str:
    """Return ranks and their nodes as a phrase: ``ranks 4-7 on n2``."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and spans[-1][1] == rank - 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in spans]
    more = f" and {len(shown) - 6} more" if len(shown) > 6 else ""
    word = "rank" if len(ranks) == 1 else "ranks"
    return f"{word} {','.join(shown[:6])}{more} {hosts(ranks, places)}"
