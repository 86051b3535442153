"""What the doctor says: each finding as it is made, a verdict at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from hpcpgd.cli.launcher import say
from hpcpgd.doctor.finding import OK, PROBLEM, WARNING, Finding, Place, counted, merged

SCHEMA = "hpcpgd.doctor/1"


@dataclass
class Report:
    """The lines of the doctor, printed by one process of the job.

    Attributes
    ----------
    speaks : bool
        Whether this process prints.
    as_json : bool
        Whether it prints one JSON document at the end in place of lines.
    code : int
        The code of the first problem, 0 without one.
    rates : mapping
        Measured rates of each node, for the document.
    """

    speaks: bool
    as_json: bool = False
    code: int = 0
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    _begin: float = field(default_factory=monotonic)
    _findings: list[dict[str, Any]] = field(default_factory=list)
    _levels: Counter[str] = field(default_factory=Counter)

    def say(self, text: str) -> None:
        """Print a line that is no finding."""
        if self.speaks and not self.as_json:
            say(text)

    def add(self, *findings: Finding) -> None:
        """Print findings of this process."""
        self.add_all([findings], [Place("", 0)])

    def add_all(self, findings: Sequence[Sequence[Finding]], places: Sequence[Place]) -> None:
        """Print the findings of all ranks, equal ones once."""
        for line in merged(findings, places):
            self._levels[line.split()[0]] += 1
            self.say(line)
        self._findings += [
            {"rank": rank, **asdict(one)} for rank, own in enumerate(findings) for one in own
        ]
        codes = [one.code for own in findings for one in own if one.code]
        self.code = self.code or next(iter(codes), 0)

    def verdict(self) -> None:
        """Print the last line, or the document."""
        seconds = monotonic() - self._begin
        if self.as_json and self.speaks:
            document = {"schema": SCHEMA, "exit_code": self.code, "seconds": round(seconds, 1)}
            say(json.dumps({**document, "rates": self.rates, "findings": self._findings}, indent=1))
        levels = self._levels
        bad = [counted(levels[word], word) for word in (PROBLEM, WARNING) if levels[word]]
        code = f", exit code {self.code}" if self.code else ""
        seen = f"{' and '.join(bad) or 'nothing to cure'}, {levels[OK]} ok"
        self.say(f"verdict: {seen} in {seconds:.1f} s{code}")
