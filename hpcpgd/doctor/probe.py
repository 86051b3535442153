"""Checks in processes of their own, so that a crash or a hang ends only the check."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from hpcpgd.cli.launcher import without_launcher
from hpcpgd.environment.programs import run_program
from hpcpgd.study.last_words import reason


def ask(
    module: str,
    *words: str,
    seconds: float,
    launcher: tuple[str, ...] = (),
    environ: Mapping[str, str] = os.environ,
) -> tuple[str, str]:
    """Run a module of hpcpgd, not as a rank of this job; it is killed after ``seconds``.

    Returns
    -------
    out : str
        Its standard output.
    trouble : str
        Why it failed, "" if it did not.
    """
    command = [*launcher, sys.executable, "-m", module, *words]
    try:
        done = run_program(command, seconds, without_launcher(environ))
    except subprocess.TimeoutExpired:
        return "", f"no answer within {seconds:.0f} s"
    except OSError as error:
        return "", str(error)
    return done.stdout, "" if done.returncode == 0 else _ended(done.returncode, done.stderr)


def _ended(code: int, errors: str) -> str:
    line = reason(errors)
    return f"it ended with {code}" + f": {line}" * bool(line)


class Probe:
    """A module of hpcpgd in a process of its own that answers each line with one line.

    The process is killed at the end of ``with``.  It has ``seconds`` for all its answers.

    Attributes
    ----------
    trouble : str
        Why the process does not answer any more, "" while it does.
    """

    def __init__(
        self, module: str, *words: str, seconds: float, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.trouble, self._seconds = "", seconds
        self._end = time.monotonic() + seconds
        self._process: Any = None
        command = [sys.executable, "-m", module, *words]
        variables = without_launcher(environ)
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, 0, None, pipe, pipe, pipe, env=variables)
        except OSError as error:
            self.trouble = str(error)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def ask(self, line: str = "") -> str:
        """Send a line and return the answer, "" if there is none."""
        if self.trouble:
            return ""
        answers = self._process.stdout
        with suppress(BrokenPipeError):  # it has ended, so there is no answer
            self._process.stdin.write(f"{line}\n".encode())
        if not select.select([answers], [], [], max(self._end - time.monotonic(), 0.0))[0]:
            self.trouble = f"no answer within {self._seconds:.0f} s"
            return ""
        answer = str(answers.readline().decode().strip())
        if not answer:
            _, errors = self._process.communicate()
            self.trouble = _ended(self._process.returncode, errors.decode(errors="replace"))
        return answer
