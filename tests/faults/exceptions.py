"""One rank of four fails: all processes of the job are gone within 10 seconds.

At twelve points, on each rank: an exception, memory that is not there, a library that calls
``sys.exit``, one that calls ``_exit``, and SIGKILL as the kernel sends it when memory runs out.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.faults.jobs import LIMIT, WORDS, Ended, Fault, finish, start
from tests.faults.kind import Kind, Trial
from tests.faults.victim import FAILURES, STAMP

RANKS = 4
SECONDS = 10.0  # from the fault to the end of the last process
INTERNAL = 70
# The point and the call of it at which the fault happens: step 1 and step 800 of 1,600.
POINTS = (
    ("import", 1), ("start", 1), ("dataset", 1), ("planning", 1), ("compiling", 1),
    ("reducing", 1), ("reducing", 800), ("checkpoint", 3), ("validation", 2), ("test", 1),
    ("run file", 1), ("exit", 1),
)  # fmt: skip
SILENT = ("_exit", "SIGKILL")  # no message of Python's, but one of the launcher's
SHORT = ("MemoryError", 69, "too little memory")  # not a defect of hpcpgd
# Before MPI has started nothing but a signal tells the launcher that a rank is gone.
UNHEARD = {("import", "_exit")}


def _trials() -> list[tuple[str, int, int, str]]:
    """Return points, ranks and deeds, mixed, so that a few are of many kinds."""
    every = [
        (point, number, rank, deed)
        for deed, (point, number), rank in itertools.product(FAILURES, POINTS, range(RANKS))
        if (point, deed) not in UNHEARD
    ]
    random.Random(0).shuffle(every)
    return every


TRIALS = _trials()
COUNTS = {"hangs": 0, "slowest_ms": 0}


def exception_trial(trial: Trial) -> str:
    """Let one rank fail; return what is wrong, "" if nothing is."""
    point, number, rank, deed = TRIALS[trial.number % len(TRIALS)]
    stamp = trial.folder / "stamp"
    words = [*WORDS, "--output", str(trial.folder / "r.h5")]
    more = {STAMP: str(stamp), "PYTHONFAULTHANDLER": "1"}
    process = start(words, RANKS, Fault(rank, point, number, deed), **more)
    seconds = _seconds(stamp, process)
    problem = _problem(deed, rank, seconds, finish(process, 5.0))
    return problem and f"{deed} at {point} {number} on rank {rank}: {problem}"


def _problem(deed: str, rank: int, seconds: float | None, ended: Ended) -> str:
    if seconds is None:
        return f"it never happened: exit code {ended.code}: {ended.error[-4000:]}"
    COUNTS["slowest_ms"] = max(COUNTS["slowest_ms"], round(1000 * seconds))
    if seconds > SECONDS:
        COUNTS["hangs"] += 1
        return f"not gone after {SECONDS:.0f} s: {ended.error[-4000:]}"
    code, name = SHORT[1:] if deed == SHORT[0] else (INTERNAL, f"rank {rank} of {RANKS}")
    right = ended.code != 0 if deed in SILENT else ended.code == code
    named = deed in SILENT or name in ended.error
    if right and named:
        return ""
    return f"exit code {ended.code}, rank {'' if named else 'not '}named: {ended.error[-300:]}"


def _seconds(stamp: Path, launcher: subprocess.Popen[str]) -> float | None:
    """Wait for the end; return the seconds that it took after the fault, None without one."""
    limit = time.monotonic() + LIMIT
    # A process that has just begun a program does not yet show the mark.
    while (launcher.poll() is None or _alive(stamp)) and time.monotonic() < limit:
        time.sleep(0.02)
        if stamp.exists() and (text := stamp.read_text()):
            limit = min(limit, float(text) + SECONDS + 1)
    seconds = time.monotonic() - float(stamp.read_text()) if stamp.exists() else None
    for process in _alive(stamp):
        with suppress(OSError):  # it has gone by now
            if (process / "cmdline").read_bytes().startswith(sys.executable.encode()):
                os.kill(int(process.name), signal.SIGABRT)  # the rank tells where it is
    return seconds


def _alive(stamp: Path) -> list[Path]:
    """Return the processes that have the job's mark in their environment."""
    mark, found = f"{STAMP}={stamp}\0".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has gone, or is somebody else's
            if mark in (process / "environ").read_bytes():
                found.append(process)
    return found


EXCEPTIONS = Kind(len(TRIALS), 2, exception_trial, COUNTS)
