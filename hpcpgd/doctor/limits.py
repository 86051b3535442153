"""Limits of a process that prevent a run or the start of MPI, checked before MPI starts."""

from __future__ import annotations

from hpcpgd.doctor.finding import Finding, problem, warning
from hpcpgd.environment import memory_limits
from hpcpgd.errors import UnavailableError

SUBJECT = "limits"


def judge() -> list[Finding]:
    """Judge which limits of this process are too low."""
    findings = []
    refused, low = memory_limits.too_little(), memory_limits.few()
    if refused:
        seen, _, cure = refused.rpartition(": ")
        findings.append(problem(SUBJECT, seen, cure, UnavailableError.exit_code))
    if low:
        text = f"{low}: MPI may fail as it starts, and a run as it writes"
        findings.append(warning(SUBJECT, text, "raise it: ulimit, or the site's administrators"))
    return findings
