"""Run the program as a user does, under a launcher, with a limit that ends the whole job."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcpgd.cli.launcher import RANK_VARIABLES, SIZE_VARIABLES
from hpcpgd.errors import UnavailableError

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
SAMPLES = ROOT / "tests" / "samples"
MINI = SAMPLES / "mnist-mini"  # MNIST's format, small
TRAIN = ("-m", "hpcpgd.train")
RANK = re.compile(rb"(?:^|\0)(?:PMI_RANK|PMIX_RANK|OMPI_COMM_WORLD_RANK)=(\d+)\0")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    def ended(self, code: int) -> Done:
        """Check the exit code."""
        assert self.code == code, self
        return self

    def good(self) -> Done:
        """Check that the exit code is 0, without a warning."""
        assert (self.code, self.err) == (0, ""), self
        return self

    def one_line(self, code: int, *says: str, out: str | None = None) -> None:
        """Check the exit code, that the only line of errors has these words, and the output."""
        assert (self.code, self.err.count("\n"), len(self.err.splitlines())) == (code, 1, 1), self
        assert all(word in self.err for word in says), self.err
        assert out is None or self.out == out, self


def mpiexec() -> str:
    """Return the launcher that belongs to this Python, else the one in PATH."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise UnavailableError(
            "no mpiexec beside this Python or on the path: install hpcpgd[mpich]"
        )
    return found


def environment(**changes: str) -> dict[str, str]:
    """Return this environment without the traces of a launcher, with changes."""
    kept = {k: v for k, v in os.environ.items() if k not in (*RANK_VARIABLES, *SIZE_VARIABLES)}
    return {**kept, **changes}


def wait_until(reached: Callable[[], object], seconds: float) -> None:
    """Return as soon as ``reached`` is true; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"not reached within {seconds:g} s"
        time.sleep(0.05)


def processes(word: str) -> dict[int, int]:
    """Return the process of each rank whose command line holds ``word``."""
    ranks = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
                variables = (entry / "environ").read_bytes()
            except OSError:
                continue
            rank = RANK.search(variables)
            if rank and word.encode() in words:
                ranks[int(rank[1])] = int(entry.name)
    return ranks


SHARED = 3  # how many times longer a job may take beside others


@contextmanager
def started(
    command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a process group of its own, which is killed if it outlives the body."""
    with subprocess.Popen(
        command, cwd=cwd, env=env or environment(), stderr=subprocess.PIPE, text=True,
        start_new_session=True, **{"stdout": subprocess.DEVNULL, **options},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def run(
    command: list[str], timeout: float, env: dict[str, str] | None = None, cwd: Path | None = None
) -> Done:
    """Run a command in a process group of its own; past ``timeout`` the group is killed.

    ``timeout`` is for an idle machine; others may use the cores, such as a second worker.
    """
    timeout *= SHARED
    with started(command, cwd, env, stdout=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(
                f"no end after {timeout:.0f} s: {command}\n{out[-2000:]}\n{err[-2000:]}"
            ) from None
    return Done(process.returncode, out, err)


def python(
    *arguments: str,
    ranks: int | None = None,
    timeout: float = 120,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Done:
    """Run Python, under ``mpiexec -n ranks`` if ranks are given."""
    launcher = [] if ranks is None else [mpiexec(), "-n", str(ranks)]
    return run([*launcher, sys.executable, *arguments], timeout, env, cwd)


def script(name: str, *words: str, **options: Any) -> Done:
    """Run a module of ``scripts/``; options are those of `python`."""
    env = {**(options.pop("env", None) or environment()), "PYTHONPATH": str(ROOT)}
    return python("-m", f"scripts.{name}", *words, env=env, **options)


def physical_cores() -> int:
    """Return how many cores this process may use; their hardware threads count once."""
    cpus = [f"/sys/devices/system/cpu/cpu{n}/topology" for n in os.sched_getaffinity(0)]
    files = [Path(cpu, "thread_siblings_list") for cpu in cpus]
    return len({file.read_text() if file.exists() else str(file) for file in files})


def inside(folder: Path, main: Callable[[list[str]], int], *words: str) -> Done:
    """Run a command that starts no MPI in this process: a check of its texts is no job."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main(list(words))
    return Done(code, out.getvalue(), err.getvalue())
