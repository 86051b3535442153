"""Hostile files: datasets, checkpoints, TOML and run files that were made to do harm.

Each trial is a batch of 500 cases of one format, in a process of its own that has limits of
memory and time.  A reader returns a valid object or raises its documented error, one line, within
bounds of memory.  A case that kills the process inside libhdf5, or makes it loop for ever, is
counted, and the next case follows: it is no defect of hpcpgd.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.kind import Kind, Trial
from tests.helpers.support import ROOT

CASES = 500  # of a trial
SECONDS = 300  # of a batch
LIBHDF5 = ("checkpoint", "hdf5", "run")  # which it parses
# Trial by trial: 20 % each of idx, csv and npz, 15 % toml, 10 % each checkpoint and hdf5, 5 % run.
SCHEDULE = (
    "checkpoint", "hdf5", "idx", "csv", "npz", "toml", "idx", "csv", "npz", "toml",
    "run", "idx", "csv", "npz", "toml", "checkpoint", "hdf5", "idx", "csv", "npz",
)  # fmt: skip


@dataclass
class Batch:
    """What came of a batch of cases of one format.

    Attributes
    ----------
    counts : Counter
        ``cases``, ``accepted``, ``refused``, and where libhdf5 parses ``crashes`` and ``hangs``.
    memory : int
        Most bytes that a case took.
    wrong : list of str
        What was not as documented.
    killed : list of str
        The signal and the seed of each case that ended its process.
    """

    counts: Counter[str] = field(default_factory=Counter)
    memory: int = 0
    wrong: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)


def make_batch(name: str, seed: int, cases: int, folder: Path) -> Batch:
    """Read ``cases`` hostile files; after a case that ends its process another one goes on."""
    batch, part = Batch(), 0
    while (left := cases - batch.counts["cases"]) > 0:
        place, which = folder / f"part{part}", f"{name}, seed {seed}.{part}"
        place.mkdir()
        words = ["-m", "tests.faults.fuzz_worker", name, f"{seed}.{part}", str(left), str(place)]
        command = [sys.executable, *words]
        with (place / "output").open("w") as out:
            code = _wait(subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT))
        if code > 0 or not (place / "tally.json").exists():
            files = [place / name for name in ("output", "stderr")]
            said = " ".join(file.read_text() for file in files if file.exists())
            batch.wrong.append(f"{which}: exit code {code}: {said[-500:]}")
            return batch
        _add(batch, json.loads((place / "tally.json").read_text()), code, which)
        part += 1
    return batch


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code, or the signal as a negative number; what goes on too long is killed."""
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return -signal.SIGPROF


def _add(batch: Batch, tally: dict[str, Any], code: int, seed: str) -> None:
    """Add what a process counted, and the case that ended it."""
    reading, wrong, memory = tally.pop("reading"), tally.pop("wrong"), tally.pop("memory")
    batch.counts.update(tally)
    batch.memory = max(batch.memory, memory)
    batch.wrong += [f"{seed}: {text}" for text in wrong]
    if code == 0:
        return
    killed = f"{seed}, case {tally['cases']}: {signal.Signals(-code).name}"
    batch.killed.append(killed)
    if not reading or not seed.startswith(LIBHDF5):
        batch.wrong.append(killed if reading else f"{killed} while it was made")
    else:
        batch.counts["hangs" if -code == signal.SIGPROF else "crashes"] += 1


def fuzz_trial(trial: Trial) -> str:
    """Read a batch of hostile files; return what was wrong, "" if nothing."""
    name = SCHEDULE[trial.number % len(SCHEDULE)]
    batch = make_batch(name, trial.draw.randrange(2**32), CASES, trial.folder)
    for what, count in batch.counts.items():
        FUZZ.counts[f"{name}_{what}"] = FUZZ.counts.get(f"{name}_{what}", 0) + count
    most = f"{name}_most_bytes"
    FUZZ.counts[most] = max(FUZZ.counts.get(most, 0), batch.memory)
    for killed in batch.killed:
        print(f"fuzz: {killed}", flush=True)
    return "; ".join(batch.wrong)


FUZZ = Kind(200, 1, fuzz_trial, {"cases_of_a_trial": CASES})
