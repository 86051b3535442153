"""Checkpoints that are cut off or have a flipped bit: detected, and the one before it used."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np

from hpcpgd.checkpoint.checkpoint_folder import Folder, load
from hpcpgd.checkpoint.state import State
from tests.faults.jobs import WORDS, finish, go_on, start, wrong_end
from tests.faults.kind import Kind, Trial

BLOCK = 512
FLIPS = 100  # of each trial
COUNTS = {"cuts": 0, "flips": 0}


def cut_trial(trial: Trial) -> str:
    """Damage the newer of two checkpoints in many ways, then go on; return what is wrong."""
    draw, output = trial.draw, trial.folder / "r.h5"
    short = ("--checkpoint-every", "5", "--max-steps", str(12 + 8 * trial.number))
    made = finish(start([*WORDS, *short, "--output", str(output)], draw.randint(1, 3)))
    folder = Folder(trial.folder / "r.checkpoints")
    if made.code != 0 or len(folder.newest_first()) < 2:
        return f"no two checkpoints: exit code {made.code}: {made.error[-200:]}"
    newest, before = folder.newest_first()[:2]
    whole, expected = newest.read_bytes(), load(before)
    damaged = [*_cuts(whole), *_flips(whole, draw)]
    for name, data in damaged:
        newest.write_bytes(data)
        problem = _passed_over(folder, newest, before, expected)
        if problem:
            return f"{name}: {problem}"
    name, data = draw.choice(damaged)
    newest.write_bytes(data)
    problem = wrong_end(output, trial.whole.told, go_on(output, draw.randint(1, 3)), warnings=1)
    return problem and f"{name}: {problem}"


def _cuts(whole: bytes) -> Iterator[tuple[str, bytes]]:
    for length in range(0, len(whole), BLOCK):
        COUNTS["cuts"] += 1
        yield f"cut at {length} of {len(whole)} bytes", whole[:length]


def _flips(whole: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    for _ in range(FLIPS):
        COUNTS["flips"] += 1
        place, bit = draw.randrange(len(whole)), draw.randrange(8)
        changed = bytearray(whole)
        changed[place] ^= 1 << bit
        yield f"bit {bit} of byte {place} of {len(whole)} flipped", bytes(changed)


def _passed_over(folder: Folder, newest: Path, before: Path, expected: State) -> str:
    """Say what is wrong with how the newest, damaged, is passed over, "" if nothing is."""
    if folder.newest_first()[0] != newest:
        return "it is no longer the newest"
    said = io.StringIO()
    with redirect_stderr(said):
        found = folder.newest()
    if found is None or found[0] != before:
        return f"not detected: {found and found[0].name}"
    same = np.array_equal(found[1].parameters, expected.parameters)
    if not same or found[1].steps != expected.steps:
        return "another state than that of the checkpoint before it"
    line = said.getvalue()
    right = line.count("\n") == 1 and "warning" in line and newest.name in line
    return "" if right else f"said {line!r}"


CUTS = Kind(10, 1, cut_trial, COUNTS)
