"""Whether others use the cores of a node, which makes all rates of the doctor too low."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hpcpgd.doctor.finding import Finding, ok, warning
from hpcpgd.machine.cores import hardware_threads
from hpcpgd.machine.other_load import busy_seconds

SUBJECT = "load"
SECONDS = 0.5  # of observation; the system counts in hundredths of a second
# The system's own work takes a small share of the cores.  More than half a core is never tolerated,
# because one process of another user takes a whole core.
TOLERATED_SHARE = 0.1
TOLERATED_CORES = 0.5
CURE = "end what else runs here, or ask for whole nodes (sbatch --exclusive)"


@dataclass(frozen=True)
class OtherWork:
    """The load of others while the ranks slept.

    Attributes
    ----------
    used : float
        Cores that others used, on average; NaN if it is unknown.
    cores : int
        Number of cores that were observed.
    """

    used: float
    cores: int


def observe(cores: Sequence[int]) -> OtherWork:
    """Observe ``cores`` while this rank sleeps; all ranks of the node call it together."""
    watched = hardware_threads(cores)  # a process on any of them slows its core down
    before, begin = busy_seconds(watched), time.monotonic()
    time.sleep(SECONDS)
    used = (busy_seconds(watched) - before) / (time.monotonic() - begin)
    return OtherWork(used, len(cores))


def is_busy(seen: OtherWork) -> bool:
    """Return whether others use more than the system's own work takes."""
    return seen.used > min(TOLERATED_SHARE * seen.cores, TOLERATED_CORES)  # False for NaN


def unjudged(busy: bool, crowded: bool = False) -> str:
    """Return the note after rates that are not judged, "" if they are.

    ``crowded`` says that ranks share cores with each other.
    """
    if busy:
        return ", not judged while others use the cores"
    return ", not judged while ranks share cores" * crowded


def judge(seen: OtherWork) -> list[Finding]:
    """Judge how much others use."""
    if seen.used != seen.used:
        return [ok(SUBJECT, "this system does not report what others use")]
    text = f"others use {seen.used:.1f} of {seen.cores} cores"
    if is_busy(seen):
        return [warning(SUBJECT, f"{text}: the rates below are too low", CURE)]
    return [ok(SUBJECT, text)]


def judge_later(load: str) -> list[Finding]:
    """Judge what others used while the rates were measured, "" if it was little."""
    seen = f"{load} while the rates were measured: the rates below are too low"
    return [warning(SUBJECT, seen, CURE)] if load else []
