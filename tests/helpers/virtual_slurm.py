"""The virtual SLURM of scripts/slurm_cluster.sh, and a terminal in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers.support import ROOT, Done, environment, run

SCRIPT = str(ROOT / "scripts" / "slurm_cluster.sh")
SRUN = "srun --mpi=pmi2 --kill-on-bad-exit=1"
TRAIN = "python -m hpcpgd.train --threads 1 --overwrite --quiet --output"


def free_port() -> int:
    """Return the first of five ports that no process listens on."""
    for first in range(21000, 29000, 10):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", first)) and one.connect_ex(("127.0.0.1", first + 1)):
                return first
    raise RuntimeError("no free port")


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        beside = Path(sys.executable).parent
        local = folder.parent / f"{folder.name}-local"
        local.mkdir()
        self.env = environment(
            HPCPGD_SLURM_DIR=str(folder), HPCPGD_SLURM_PORT=str(free_port()),
            SLURM_CONF=str(folder / "slurm.conf"), PATH=f"{beside}:{os.environ['PATH']}",
            TMPDIR=str(local),
        )  # fmt: skip

    def call(self, *command: str, cwd: Path | None = None, timeout: float = 150) -> Done:
        return run([*command], timeout, self.env, cwd)

    def study(self, command: str, cwd: Path, *flags: str) -> Done:
        return self.call(sys.executable, "-m", "hpcpgd.study", command, "s.toml", *flags, cwd=cwd)

    def batch(self, body: str, cwd: Path, *options: str) -> str:
        (cwd / "job.sh").write_text(f"#!/bin/bash\n{body}\n")
        done = self.call("sbatch", "--parsable", "--output=log", *options, "job.sh", cwd=cwd)
        assert done.code == 0, done.err
        return done.out.strip()

    def script(self, cwd: Path, *words: str) -> str:
        """Submit a script and return the state in which its job ended.

        ``sbatch --wait`` looks after 2, 10 and 42 seconds.
        """
        done = self.call("sbatch", "--parsable", *words, cwd=cwd).ended(0)
        job = done.out.strip()
        self.wait(job)
        states = self.call("squeue", "-h", "--states=all", f"--jobs={job}", "--format=%T").out
        return " ".join(sorted(set(states.split())))

    def wait(self, job: str, seconds: float = 300) -> None:
        # %F, not %A: a task of an array has a number of its own, and may outlive the array's.
        until(lambda: job not in self.call("squeue", "-h", "-o", "%F").out.split(), seconds)


def until(happened: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


def typed(cluster: Cluster, folder: Path, command: str, *lines: str) -> str:
    """Start a command on a terminal, type each line when the one before is done; return all."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    seen = ""

    def done(mark: str) -> bool:
        nonlocal seen
        with suppress(BlockingIOError, OSError):  # nothing yet; the other end is closed
            seen += os.read(ours, 65536).decode(errors="replace")
        return mark in seen or job.poll() is not None

    with subprocess.Popen(
        command.split(), cwd=folder, env=cluster.env, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    ) as job:  # fmt: skip
        try:
            for number, line in enumerate(lines):
                os.write(ours, f"{line}; echo do''ne-{number}\n".encode())
                until(partial(done, f"done-{number}"), 100)
            os.write(ours, b"exit\n" * bool(lines))
            until(partial(done, "no mark"), 60)
        finally:
            job.kill()
    os.close(ours)
    os.close(theirs)
    return seen
