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
from typing import Any, Protocol

import h5py

from hpcpgd.cli.launcher import without_launcher
from tests.helpers.support import ROOT, mpiexec

LIMIT = 120.0  # seconds of any job
HISTORIES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "steps")
# Reproducible, of about 1,600 steps, with many checkpoints.
WORDS = (
    "--reduction", "reproducible", "--train-rows", "275", "--batch-size", "37", "--epochs", "200",
    "--checkpoint-every", "50", "--threads", "1", "--quiet",
)  # fmt: skip


class Disturbance(Protocol):
    """A fault in a job."""

    def program(self) -> list[str]:
        """Return the arguments of Python that come before those of ``hpcpgd train``."""


@dataclass(frozen=True)
class Fault:
    """A fault of one rank: see ``victim.py``."""

    rank: int
    phase: str
    number: int
    deed: str = "SIGKILL"

    def program(self) -> list[str]:
        """Return how Python is started."""
        words = (self.rank, self.phase, self.number, self.deed)
        return ["-m", "tests.faults.victim", *map(str, words)]


@dataclass(frozen=True)
class Ended:
    """How a job ended; the code is None if it had to be killed."""

    code: int | None
    error: str


def start(
    words: Sequence[str], ranks: int, fault: Disturbance | None = None, *wrapper: str,
    **environment: str,
) -> subprocess.Popen[str]:  # fmt: skip
    """Start a job under ``mpiexec``, in a process group of its own.

    ``wrapper`` is a command that runs the command which follows it.
    """
    program = ["-m", "hpcpgd.train"] if fault is None else fault.program()
    command = ["-n", str(ranks), sys.executable, *program, *words]
    return launch(command, *wrapper, cwd=None, **environment)


def launch(
    arguments: Sequence[str], *wrapper: str, cwd: Path | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start ``mpiexec`` with ``arguments``, in a process group of its own."""
    env = {**without_launcher(os.environ), "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(
        [*wrapper, mpiexec(), *arguments], env=env, cwd=cwd, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], limit: float = LIMIT) -> Ended:
    """Wait until a job has ended; one that hangs is killed."""
    code: int | None
    try:
        _, error = process.communicate(timeout=limit)
        code = process.returncode
    except subprocess.TimeoutExpired:
        code = None
    with suppress(ProcessLookupError):  # ranks whose launcher has gone
        os.killpg(process.pid, signal.SIGKILL)
    if code is None:
        _, error = process.communicate()
    return Ended(code, error)


def told(path: Path) -> dict[str, Any]:
    """Return the values that must be equal in two runs, to the last bit."""
    with h5py.File(path) as file:
        names = [f"history/{name}" for name in HISTORIES]
        names += ["test/loss"] if "test" in file else []
        found: dict[str, Any] = {name: file[name][...].tobytes() for name in names}
        return found | {"weights": str(file.attrs["params_sha256"])}


def go_on(output: Path, ranks: int, *more: str) -> Ended:
    """Run ``WORDS`` to their end, from the newest checkpoint."""
    return finish(start([*WORDS, *more, "--output", str(output), "--overwrite"], ranks))


def wrong_end(output: Path, expected: dict[str, Any], ended: Ended, warnings: int = 0) -> str:
    """Say what is wrong with a run that went on to its end, "" if nothing is."""
    if ended.code != 0:
        return f"went on to exit code {ended.code}: {ended.error[-200:]}"
    if ended.error.count("\n") != warnings:
        return f"went on with {ended.error[-200:]!r}"
    return "" if told(output) == expected else "went on to other bits"
