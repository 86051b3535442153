"""Programs of this machine, run for what they have to say."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence


def run_program(
    command: Sequence[str], seconds: float, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program without input; return its exit code and what it wrote.

    Raises
    ------
    OSError, subprocess.TimeoutExpired
        If it cannot be started, or was killed as it had not ended after ``seconds``.
    """
    return subprocess.run(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def answer_of(command: Sequence[str], seconds: float) -> str:
    """Return what a program wrote to standard output, "" if it did not end well in time."""
    try:
        done = run_program(command, seconds)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout
