"""Ranks that are killed, and signals: whatever happens, the run goes on to the same bits."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

from tests.faults.jobs import WORDS, Ended, Fault, finish, start, told
from tests.faults.kind import Kind, Trial

PHASES = ("writing", "before fsync", "before rename", "after rename", "loading", "reducing")
MOST_RANKS = 4
STARTS = 5
STOPPED = 75


def kill_trial(trial: Trial) -> str:
    """Kill a run, perhaps twice, and let it go on; return what is wrong, "" if nothing is."""
    draw, output = trial.draw, trial.folder / "r.h5"
    phase = draw.choice(PHASES) if draw.random() < 0.5 else "time"
    ranks = draw.randint(1, MOST_RANKS)
    faults = list(_faults(draw, phase, ranks, trial.whole.seconds))
    for number in range(STARTS):
        fault = faults[number] if number < len(faults) else None
        again = ["--overwrite"] if number else []
        ended = finish(start([*WORDS, "--output", str(output), *again], ranks, fault))
        if ended.code is None:
            return f"{fault}: no end"
        if ended.code == 0:
            return "" if told(output) == trial.whole.told else f"{faults}: other bits"
        if fault is None:
            return f"{faults}, then exit code {ended.code}: {ended.error[-200:]}"
        if draw.random() < 0.5:
            ranks = draw.choice([n for n in range(1, MOST_RANKS + 1) if n != ranks])
    return f"{faults}: not complete after {STARTS} starts"


def _faults(draw: random.Random, phase: str, ranks: int, took: float) -> Iterator[Fault]:
    """Yield the faults of the first starts; only rank 0 writes and loads."""
    moment = Fault(draw.randrange(ranks), "time", int(1000 * took * draw.random()))
    if phase == "loading":
        yield Fault(0, "reducing", draw.randint(60, 1500))
        yield Fault(0, phase, 1)
    elif phase == "time":
        yield moment
    elif phase == "reducing":
        yield Fault(draw.randrange(ranks), phase, draw.randint(1, 1600))
    else:
        yield Fault(0, phase, draw.randint(1, 60))
    if draw.random() < 0.3:
        yield Fault(0, "time", int(1000 * took * draw.random()))


def signal_trial(trial: Trial) -> str:
    """Send a run a signal, and let it go on; return what is wrong, "" if nothing is."""
    draw, output = trial.draw, trial.folder / "r.h5"
    number = draw.choice((signal.SIGUSR1, signal.SIGTERM))
    words = [*WORDS, "--output", str(output)]
    process = start(words, draw.randint(1, MOST_RANKS), None)
    while not output.exists() and process.poll() is None:  # earlier, no process handles signals yet
        time.sleep(0.01)
    time.sleep(trial.whole.seconds * draw.random())
    process.send_signal(number)
    ended: Ended = finish(process)
    if ended.code == STOPPED and ended.error.count("\n") == 1:
        ended = finish(start(words, draw.randint(1, MOST_RANKS), None))
    if ended.code != 0:
        return f"{number.name}: exit code {ended.code}: {ended.error[-200:]}"
    return "" if told(output) == trial.whole.told else f"{number.name}: other bits"


KILLS = Kind(200, 1, kill_trial)
SIGNALS = Kind(100, 1, signal_trial)
