"""The commands sbatch, scancel and squeue of SLURM; no accounting is needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hpcpgd.environment.programs import run_program
from hpcpgd.errors import ConfigError, UnavailableError
from hpcpgd.study.grid import digest
from hpcpgd.study.slurm.site import Site

SECONDS = 60.0
USER = f"--user={os.getuid()}"
SILENT = ("Socket timed out", "Unable to contact", "Connection refused")


class Queue:
    """The queue of a site."""

    def __init__(self, site: Site) -> None:
        # A user's own settings of squeue would hide jobs of this study.
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SQUEUE_")}
        self._environment = {**kept, **dict(site.environment)}

    def check(self, script: Path) -> None:
        """Ask SLURM whether it would take a script.

        Raises
        ------
        ConfigError
            With SLURM's message, if not.
        UnavailableError
            If there is no sbatch here.
        """
        self._sbatch(["--test-only", str(script)], script)

    def submit(self, script: Path, log: Path, after: list[str], array: bool) -> str:
        """Submit a script, to begin when the jobs ``after`` have ended; return its number.

        Raises
        ------
        ConfigError, UnavailableError
            As ``check``.
        """
        prefix = str(log.absolute()).replace("%", "%%")
        options = ["--parsable", f"--output={prefix}-{'%A_%a' if array else '%j'}.log"]
        options.append(f"--comment={_comment(script)}")
        if after:
            options.append(f"--dependency=afterany:{':'.join(after)}")
        return self._sbatch([*options, str(script)], script).strip().split(";")[0]

    def cancel(self, scripts: list[Path]) -> None:
        """Cancel the jobs of scripts.

        A job is identified by its comment: an interrupted submission has returned no number.
        """
        wanted = {_comment(script) for script in scripts}
        done = self._call(["squeue", "--noheader", USER, "--format=%F %k"])
        lines = (line.split(None, 1) for line in done.stdout.splitlines())
        jobs = [words[0] for words in lines if len(words) == 2 and words[1].strip() in wanted]
        if jobs:
            self._call(["scancel", *jobs])

    def states(self) -> dict[str, str]:
        """Return the states of this user's jobs by number, array tasks apart (``12_3``).

        SLURM's reason follows the state: ``PENDING Resources``, ``RUNNING None``.

        Raises
        ------
        UnavailableError
            If SLURM does not answer.
        """
        done = self._call(["squeue", "--noheader", "--array", USER, "--format=%i %T %r"])
        if done.returncode:
            raise UnavailableError(f"squeue: {_said(done)}")
        return dict(line.split(None, 1) for line in done.stdout.splitlines() if " " in line)

    def _sbatch(self, words: list[str], script: Path) -> str:
        done = self._call(["sbatch", *words])
        if done.returncode and any(text in done.stderr for text in SILENT):
            raise UnavailableError(f"sbatch: {_said(done)}")
        if done.returncode:
            raise ConfigError(f"{script}: SLURM refuses it: {_said(done)}")
        return done.stdout

    def _call(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        try:
            return run_program(command, SECONDS, self._environment)
        except FileNotFoundError:
            raise UnavailableError(
                f"{command[0]} is not installed here: submit from a login node of the cluster, "
                "or look at the scripts with --dry-run"
            ) from None
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{command[0]}: no answer in {SECONDS:g} s") from None


def _comment(script: Path) -> str:
    """Return a comment that only the jobs of this script have."""
    return f"hpcpgd-{digest(str(script.absolute()))}"


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {done.returncode}"
