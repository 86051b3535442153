"""Ranks that differ: by a flag, a version, a library, a source file, a row or a weight."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from tests.faults.jobs import Ended, finish, launch
from tests.faults.kind import Kind, Trial
from tests.helpers.support import ROOT

STRANGER = "tests.faults.stranger"
WORDS = ("--reduction", "allreduce", "--epochs", "2", "--threads", "1", "--quiet")
FLAGS = {
    "--seed": "1", "--batch-size": "36", "--epochs": "3", "--learning-rate": "0.5",
    "--dtype": "float64", "--hidden": "16", "--loss": "cross-entropy", "--activation": "tanh",
    "--train-rows": "250", "--dataset": "synthetic:400x64x10", "--backend": "loops",
    "--threads": "2", "--max-steps": "7", "--reduction": "reproducible",
}  # fmt: skip
# The fact in which a rank differs, and the words that the one line then has.
FACTS = {
    "hpcpgd": "hpcpgd is 0.0.1", "numba": "numba is 0.0.1", "MPI": "the MPI library is Another",
    "BLAS": "the BLAS is openblas 0.0.1", "rows": "other rows of dataset digits",
    "weights": "other weights in layer 1",
}  # fmt: skip
SOURCES = "sources"
CASES = (*FLAGS, *FACTS, SOURCES)
REFUSED = (76, 78)


def mismatch_trial(trial: Trial) -> str:
    """Start ranks one of which differs; return what is wrong, "" if it is refused by name."""
    case, size = CASES[trial.number % len(CASES)], trial.draw.randint(2, 4)
    odd = trial.draw.randrange(1, size)
    ended = _job(case, size, odd, trial.folder)
    lines = [line for line in ended.error.splitlines() if line.startswith("hpcpgd train: error:")]
    if ended.code not in REFUSED or len(lines) != 1:
        return f"{case}: exit code {ended.code}: {ended.error[-300:]}"
    if (trial.folder / "r.h5").exists():
        return f"{case}: a run file was written: {lines[0]}"
    # Of two ranks that disagree, either may be called the odd one.
    by_name = re.search(rf"rank {odd}\b", lines[0]) or (size == 2 and "rank 0" in lines[0])
    return "" if by_name and _told(case) in lines[0] else f"{case}: told as: {lines[0]}"


def _told(case: str) -> str:
    """Return what the line must hold."""
    if case in FLAGS:
        return f"{case[2:].replace('-', '_')} is"
    return FACTS.get(case, "with sources")


def _job(case: str, size: int, odd: int, folder: Path) -> Ended:
    """Run a job whose rank ``odd`` differs."""
    words = [*WORDS, "--output", str(folder / "r.h5")]
    usual = ["-env", "PYTHONPATH", str(ROOT), sys.executable, "-m", "hpcpgd.train", *words]
    arguments: list[str] = []
    for count, part in ((odd, usual), (1, _other(case, usual, folder)), (size - odd - 1, usual)):
        if count:
            arguments += [":"] * (len(arguments) > 0) + ["-n", str(count), *part]
    return finish(launch(arguments, cwd=folder))


def _other(case: str, usual: list[str], folder: Path) -> list[str]:
    """Return what the odd rank runs in place of ``usual``."""
    if case in FLAGS:
        return [*usual, case, FLAGS[case]]
    if case in FACTS:
        module = usual.index("-m")
        return [*usual[: module + 1], STRANGER, case, *usual[module + 2 :]]
    shutil.copytree(ROOT / "hpcpgd", folder / "other" / "hpcpgd")
    with (folder / "other" / "hpcpgd" / "data" / "sampler.py").open("a") as file:
        file.write("# changed\n")
    return [str(folder / "other") if word == str(ROOT) else word for word in usual]


MISMATCHES = Kind(len(CASES), 2, mismatch_trial)
