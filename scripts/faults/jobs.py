"""Jobs that are disturbed, and what must be left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from bench.launcher import find_mpiexec
from hpcpgd.errors import UnavailableError
from hpcpgd.launch import without_launcher

LIMIT = 120.0  # seconds of any job
VICTIM = str(Path(__file__).with_name("victim.py"))
ROOT = Path(__file__).resolve().parents[2]
HISTORIES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "steps")
# Reproducible, of about 1,600 steps, with many checkpoints.
WORDS = (
    "--reduction", "reproducible", "--train-rows", "330", "--batch-size", "37", "--epochs", "200",
    "--checkpoint-every", "50", "--threads", "1", "--quiet",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What befalls a rank: see ``victim.py``."""

    rank: int
    phase: str
    number: int


@dataclass(frozen=True)
class Ended:
    """How a job ended; the code is None if it had to be killed."""

    code: int | None
    error: str


def start(words: Sequence[str], ranks: int, fault: Fault | None) -> subprocess.Popen[str]:
    """Start a job under ``mpiexec``, in a process group of its own."""
    python = [sys.executable, "-m", "hpcpgd.train"]
    if fault is not None:
        python = [sys.executable, VICTIM, str(fault.rank), fault.phase, str(fault.number)]
    return launch(["-n", str(ranks), *python, *words])


def launch(arguments: Sequence[str], folder: Path | None = None) -> subprocess.Popen[str]:
    """Start ``mpiexec`` with ``arguments``, in a process group of its own."""
    mpiexec = find_mpiexec()
    if mpiexec is None:
        raise UnavailableError("no mpiexec beside this Python or on the path")
    env = {**without_launcher(os.environ), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [mpiexec, *arguments], env=env, start_new_session=True, cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait until a job has ended; one that hangs is killed."""
    try:
        _, error = process.communicate(timeout=LIMIT)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        code, error = None, ""
    with suppress(ProcessLookupError):  # ranks whose launcher has gone
        os.killpg(process.pid, signal.SIGKILL)
    return Ended(code, error)


def told(path: Path) -> dict[str, Any]:
    """Return what two runs must have alike, to the last bit."""
    with h5py.File(path) as file:
        found: dict[str, Any] = {n: file[f"history/{n}"][...].tolist() for n in HISTORIES}
        found["test"] = float(file["test/loss"][...]) if "test" in file else None
        return found | {"weights": str(file.attrs["params_sha256"])}
