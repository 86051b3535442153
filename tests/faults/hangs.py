"""Ranks that hang, by SIGSTOP or somewhere in Python: the watchdog ends the job and names them."""

from __future__ import annotations

import re
import time

from hpcpgd.config.run_config import HANG_TIMES
from tests.faults.jobs import Fault, finish, start
from tests.faults.kind import Kind, Trial
from tests.faults.victim import HANGS as DEEDS
from tests.faults.victim import STAMP

REDUCTIONS = ("allreduce", "overlap", "shared", "reproducible")
# Where a rank hangs, in which of its calls at most, and for which phases the others may wait.
PLACES = {
    "dataset": (1, ("loading",)), "compiling": (1, ("compiling",)), "reducing": (1500, ("step",)),
    "validation": (100, ("step",)), "checkpoint": (20, ("step", "checkpoint")),
    "test": (1, ("step",)), "run file": (1, ("step", "checkpoint")),
}  # fmt: skip
CASES = [(deed, place) for deed in DEEDS for place in PLACES]
LIMIT, GRACE = 6, 30  # seconds that the others wait at least, and that the end may take
# The launcher may report how it ended a rank: by SIGKILL.
CODES = (71, 9)


def hang_trial(trial: Trial) -> str:
    """Let a rank hang; return what is wrong, "" if the job ends in time and names it."""
    deed, place = CASES[trial.number % len(CASES)]
    size, reduction = trial.draw.randint(2, 4), trial.draw.choice(REDUCTIONS)
    victim = trial.draw.randrange(size)
    most, phases = PLACES[place]
    times = [HANG_TIMES[phase] for phase in phases]
    limit = LIMIT // min(times)
    fault = Fault(victim, place, trial.draw.randint(1, most), deed)
    words = (
        *("--reduction", reduction, "--train-rows", "275", "--batch-size", "37", "--quiet"),
        *("--epochs", "200", "--checkpoint-every", "50", "--threads", "1"),
        *("--output", str(trial.folder / "r.h5")),
        *("--hang-limit", f"{limit}s"),
    )
    stamp = trial.folder / "stamp"
    ended = finish(start(words, size, fault, **{STAMP: str(stamp)}))
    seconds = time.monotonic() - float(stamp.read_text()) if stamp.exists() else None
    what = f"{fault} of {size}, {reduction}"
    if ended.code not in CODES or seconds is None or seconds > limit * max(times) + GRACE:
        return f"{what}: exit code {ended.code} after {seconds} s: {ended.error[-300:]}"
    others = [rank for rank in range(size) if rank != victim or deed == "sleep"]
    told = [re.search(rf"rank {rank} of {size} .*its stacks:", ended.error) for rank in others]
    named = rf"hpcpgd train: error: a collective .*limit\): rank {victim} \(.*\) did not"
    if not all(told) or len(re.findall(named, ended.error)) != 1:
        return f"{what}: told as: {ended.error[-600:]}"
    return ""


HANGS = Kind(2 * len(CASES), 1, hang_trial)
