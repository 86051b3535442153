"""Checks in a process of their own: what crashes or hangs there harms nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

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
    """Run a module of ours, not as a rank of this job; past ``seconds`` it is killed.

    Returns
    -------
    out : str
        Its standard output.
    trouble : str
        What went wrong, "" if nothing did.
    """
    command = [*launcher, sys.executable, "-m", module, *words]
    try:
        done = run_program(command, seconds, without_launcher(environ))
    except subprocess.TimeoutExpired:
        return "", f"no answer within {seconds:.0f} s"
    except OSError as error:
        return "", str(error)
    if done.returncode == 0:
        return done.stdout, ""
    said = reason(done.stderr)
    return done.stdout, f"it ended with {done.returncode}" + f": {said}" * bool(said)
