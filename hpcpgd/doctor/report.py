"""What the doctor says: each finding as it is made, a verdict at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hpcpgd.cli.launcher import say
from hpcpgd.doctor.finding import OK, PROBLEM, WARNING, Finding, Place, counted, merged


@dataclass
class Report:
    """The lines of the doctor, printed by one process of the job.

    Attributes
    ----------
    speaks : bool
        Whether this process prints.
    code : int
        The code of the first problem, 0 without one.
    """

    speaks: bool
    code: int = 0
    _levels: Counter[str] = field(default_factory=Counter)

    def say(self, text: str) -> None:
        """Print a line that is no finding."""
        if self.speaks:
            say(text)

    def add(self, *findings: Finding) -> None:
        """Print findings of this process."""
        self.add_all([findings], [Place("", 0)])

    def add_all(self, findings: Sequence[Sequence[Finding]], places: Sequence[Place]) -> None:
        """Print the findings of all ranks, equal ones once."""
        for line in merged(findings, places):
            self._levels[line.split()[0]] += 1
            self.say(line)
        codes = [one.code for own in findings for one in own if one.level == PROBLEM]
        self.code = self.code or next(iter(codes), 0)

    def verdict(self) -> None:
        """Print the last line."""
        levels = self._levels
        bad = [counted(levels[word], word) for word in (PROBLEM, WARNING) if levels[word]]
        code = f", exit code {self.code}" if self.code else ""
        self.say(f"verdict: {' and '.join(bad) or 'nothing to cure'}, {levels[OK]} ok{code}")
