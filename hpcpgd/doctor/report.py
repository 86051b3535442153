"""The output of the doctor: each finding when it is made, and a verdict at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from hpcpgd.cli.launcher import say
from hpcpgd.doctor.finding import OK, PROBLEM, WARNING, Finding, Place, counted, merged
from hpcpgd.errors import HpcpgdError

SCHEMA = "hpcpgd.doctor/1"


@dataclass
class Report:
    """The lines or the JSON document of the doctor, printed by one process of the job.

    Attributes
    ----------
    speaks : bool
        Whether this process prints.
    as_json : bool
        Whether it prints one JSON document at the end instead of lines.
    code : int
        The exit code of the first problem, 0 without a problem.
    rates : mapping
        Measured rates of each node, for the JSON document.
    findings : list of dict
        All findings, each with its rank, for the JSON document.
    on_findings : callable
        Is called with all new findings.
    """

    speaks: bool
    as_json: bool = False
    code: int = 0
    rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)
    on_findings: Callable[[list[dict[str, Any]]], object] = field(default=lambda new: None)
    _begin: float = field(default_factory=monotonic)
    _levels: Counter[str] = field(default_factory=Counter)

    def say(self, text: str) -> None:
        """Print a line that is not a finding."""
        if self.speaks and not self.as_json:
            say(text)

    def add(self, *findings: Finding) -> None:
        """Print the findings of this process."""
        self.add_all([findings], [Place("", 0)])

    def add_all(self, findings: Sequence[Sequence[Finding]], places: Sequence[Place]) -> None:
        """Print the findings of all ranks; equal findings are one line."""
        for line in merged(findings, places):
            self._levels[line.split()[0]] += 1
            self.say(line)
        new = [{"rank": rank, **asdict(one)} for rank, row in enumerate(findings) for one in row]
        self.findings += new
        self.on_findings(new)
        codes = [one.code for row in findings for one in row if one.code]
        self.code = self.code or next(iter(codes), 0)

    def verdict(self) -> None:
        """Print the last line, or the JSON document."""
        if self.as_json and self.speaks:
            say(self.document(self.code))
        levels = self._levels
        bad = [counted(levels[word], word) for word in (PROBLEM, WARNING) if levels[word]]
        code = f", exit code {self.code}" if self.code else ""
        seen = f"{' and '.join(bad) or 'nothing to cure'}, {levels[OK]} ok"
        self.say(f"verdict: {seen} in {monotonic() - self._begin:.1f} s{code}")

    @contextmanager
    def documented(self) -> Iterator[None]:
        """Print the JSON document if an expected error ends the body; the error goes on."""
        try:
            yield
        except HpcpgdError as error:
            if self.as_json and self.speaks:
                say(self.document(error.exit_code, str(error)))
            raise

    def document(self, code: int | None, error: str | None = None) -> str:
        """Return the JSON document; ``code`` is None if the exit code is not known.

        ``error`` is what ended the doctor before its last check.
        """
        seconds = round(monotonic() - self._begin, 1)
        first = {"schema": SCHEMA, "exit_code": code, "error": error, "seconds": seconds}
        return json.dumps({**first, "rates": self.rates, "findings": self.findings}, indent=1)
