"""A run that is killed about every 20 s: the same bits, nothing left behind, no growth.

Ranks are counted anew at each start.  Memory and descriptors are those of an undisturbed run of
the same length, in its second fifth and in its last.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

from hpcpgd.checkpoint.checkpoint_folder import KEPT
from hpcpgd.parallel import shm_files
from tests.faults.cluster import LONG
from tests.faults.jobs import finish, start, told
from tests.faults.kind import Kind, Trial

MOST_RANKS, STARTS = 4, 60
SECONDS, QUICK_SECONDS = (15.0, 25.0), (3.0, 5.0)  # between a start and its kill
EPOCHS, QUICK_EPOCHS = 3000, 40
GROWTH = 0.01
LOOK, LEAST = 0.1, 10  # seconds between looks at each rank's memory, and their number
COUNTS = {"kills": 0, "growth_permille": 0}


def soak_trial(trial: Trial) -> str:
    """Kill a run again and again until it is complete; return what is wrong, "" if nothing is."""
    words = [*LONG, "--epochs", str(QUICK_EPOCHS if trial.quick else EPOCHS)]
    expected, problem = _undisturbed(trial.folder.parent, tuple(words))
    if problem:
        return problem
    before, output = _shared(), trial.folder / "r.h5"
    for number in range(STARTS):
        again = ["--overwrite"] if number else []
        ranks = trial.draw.randint(1, MOST_RANKS)
        job = start([*words, "--output", str(output), *again], ranks)
        seconds = trial.draw.uniform(*(QUICK_SECONDS if trial.quick else SECONDS))
        if _ended(job, seconds * (1 + number / 10)):  # some time a busy machine comes to its end
            if job.returncode:
                return f"start {number + 1}: exit code {job.returncode}"
            break
        _kill(job, trial)
    else:
        return f"not complete after {STARTS} starts"
    if told(output) != expected:
        return "other bits"
    return _left(trial, before)


def _ended(job: subprocess.Popen[str], seconds: float) -> bool:
    """Return whether a job ends by itself within a time."""
    try:
        job.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(job: subprocess.Popen[str], trial: Trial) -> None:
    """Kill a rank, or the launcher, or all at once."""
    COUNTS["kills"] += 1
    ranks = list(_ranks(job.pid))
    how = trial.draw.choice(("rank", "launcher", "all"))
    with suppress(ProcessLookupError):  # it has ended meanwhile
        if how == "rank" and ranks:
            os.kill(trial.draw.choice(ranks), signal.SIGKILL)
        elif how == "launcher":
            job.kill()
        else:
            for number in (job.pid, *ranks):
                os.kill(number, signal.SIGKILL)
    finish(job)
    while any(Path(f"/proc/{number}").exists() for number in ranks):
        time.sleep(0.1)


def _ranks(session: int) -> Iterator[int]:
    """Yield the processes of ranks: those that a session's launcher has started."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "stat").read_text().rpartition(")")[2].split()
            if b"hpcpgd.train" in (process / "cmdline").read_bytes() and _of(session, words[1]):
                yield int(process.name)


def _of(session: int, parent: str) -> bool:
    """Return whether a process, by its parent, is a rank of a launcher's."""
    with suppress(OSError):
        above = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
        return str(session) in (parent, above[1])
    return False


def _left(trial: Trial, before: set[str]) -> str:
    """Start once more, and say what is left of the killed jobs, "" if nothing is."""
    folder = trial.folder
    time.sleep(0 if trial.quick else shm_files.AGE + 1)
    anew = ("--epochs", "1", "--resume", "never", "--overwrite")
    last = finish(start([*LONG, *anew, "--output", str(folder / "r.h5")], 2))
    if last.code:
        return f"the next start: exit code {last.code}: {last.error[-300:]}"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    strange = [n for n in names if not re.fullmatch(r"r\.h5|r\.checkpoints(/.*\.ckpt\.h5)?", n)]
    # The start anew, with --resume never, leaves those of the complete run.
    kept = Counter(name.partition("-step-")[0] for name in names if "-step-" in name)
    if strange or len(kept) > 2 or max(kept.values()) > KEPT:
        return f"left {strange}, checkpoints of each run {dict(kept)}"
    segments_left = set() if trial.quick else _shared() - before  # too young to be removed
    return f"left in shared memory {segments_left}" if segments_left else ""


def _shared() -> set[str]:
    """Return the files in shared memory that no process uses: other jobs may run at once."""
    return set(shm_files.left_over())


@cache
def _undisturbed(folder: Path, words: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Run without a fault; return what it found, and what is wrong with its growth."""
    output = folder / "long.h5"
    job = start([*words, "--output", str(output), "--overwrite"], 2)
    samples: dict[int, list[tuple[int, int]]] = {}
    while not _ended(job, LOOK):
        for number in _ranks(job.pid) if output.exists() else ():
            with suppress(OSError):
                pages = int(Path(f"/proc/{number}/statm").read_text().split()[1])
                files = len(list(Path(f"/proc/{number}/fd").iterdir()))
                samples.setdefault(number, []).append((pages, files))
    if job.returncode:
        return {}, f"the undisturbed run: exit code {job.returncode}"
    if len(samples) != 2 or min(map(len, samples.values())) < LEAST:
        return {}, f"memory was seen {[len(one) for one in samples.values()]} times"
    return told(output), "; ".join(filter(None, map(_grown, samples.values())))


def _grown(samples: list[tuple[int, int]]) -> str:
    """Say what grew between the second fifth and the last, "" if nothing did."""
    fifth = max(len(samples) // 5, 1)
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]
    growth = mean(pages for pages, _ in late) / mean(pages for pages, _ in early) - 1
    COUNTS["growth_permille"] = max(COUNTS["growth_permille"], round(1000 * growth))
    # The median: now and then a look finds a checkpoint's file open.
    usual = [median(files for _, files in part) for part in (early, late)]
    if growth >= GROWTH or usual[1] > usual[0]:
        return f"memory grew by {growth:.2%}, descriptors from {usual[0]} to {usual[1]}"
    return ""


SOAK = Kind(10, 1, soak_trial, COUNTS)
