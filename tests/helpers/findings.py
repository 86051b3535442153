"""What every finding of the doctor must have."""

from __future__ import annotations

from hpcpgd.doctor.finding import OK, PROBLEM, Finding


def only(found: list[Finding]) -> Finding:
    """Return the one finding, whose warning or problem must say what to do."""
    assert len(found) == 1, found
    assert bool(found[0].cure) == (found[0].level != OK)
    assert bool(found[0].code) == (found[0].level == PROBLEM)
    return found[0]
