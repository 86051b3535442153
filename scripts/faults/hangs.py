"""Ranks that hang, by SIGSTOP or somewhere in Python: the watchdog ends the job and names them."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from faults.jobs import finish, launch
from faults.kind import Kind, Trial
from faults.sluggard import SLEEP, STOP

SLUGGARD = str(Path(__file__).with_name("sluggard.py"))
REDUCTIONS = ("allreduce", "overlap", "shared", "reproducible")
# The phases, each with the option whose limit holds there and the calls until the fault.
PHASES = {
    "loading": ("loading", 1), "compiling": ("compiling", 1), "step": ("step", 1500),
    "validation": ("step", 100), "checkpoint": ("step", 20),
    "writing": ("checkpoint", 20),
}  # fmt: skip
CASES = [(how, phase) for how in (STOP, SLEEP) for phase in PHASES]
LIMIT, GRACE = 3.0, 30.0  # seconds
# The launcher may report how it ended a rank: by SIGKILL.
CODES = (71, 9)


def hang_trial(trial: Trial) -> str:
    """Let a rank hang; return what is wrong, "" if the job ends in time and names it."""
    how, phase = CASES[trial.number % len(CASES)]
    size, reduction = trial.draw.randint(2, 4), trial.draw.choice(REDUCTIONS)
    victim = 0 if phase == "writing" else trial.draw.randrange(size)
    limit, most = PHASES[phase]
    what = f"{how} in {phase} on rank {victim} of {size}, {reduction}"
    mark = trial.folder / "fault"
    fault = [SLUGGARD, str(victim), how, phase, str(trial.draw.randint(1, most)), str(mark)]
    words = (
        *("--reduction", reduction, "--epochs", "1000", "--checkpoint-every", "50", "--quiet"),
        *("--threads", "1", "--output", str(trial.folder / "r.h5")),
        *(f"--{limit}-limit", f"{LIMIT}s"),
    )
    ended = finish(launch(["-n", str(size), sys.executable, *fault, *words]))
    seconds = time.time() - mark.stat().st_mtime if mark.exists() else 0.0
    others = [rank for rank in range(size) if rank != victim or how == SLEEP]
    told = [re.search(rf"rank {rank} of {size} .*its stacks:", ended.error) for rank in others]
    named = rf"hpcpgd train: error: a collective .*limit\): rank {victim} \(.*\) did not"
    if ended.code not in CODES or not mark.exists() or seconds > LIMIT + GRACE:
        return f"{what}: exit code {ended.code} after {seconds:.0f} s: {ended.error[-300:]}"
    if not all(told) or len(re.findall(named, ended.error)) != 1:
        return f"{what}: told as: {ended.error[-600:]}"
    return ""


HANGS = Kind(2 * len(CASES), 2, hang_trial)
