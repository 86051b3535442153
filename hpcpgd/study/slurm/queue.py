"""What SLURM is told and asked: sbatch, scancel, squeue.  No accounting is assumed."""

from __future__ import annotations

import getpass
import os
import subprocess
from pathlib import Path

from hpcpgd.errors import ConfigError, UnavailableError
from hpcpgd.study.slurm.site import Site

SECONDS = 60.0


class Queue:
    """The queue of a site.

    Parameters
    ----------
    site : Site
    """

    def __init__(self, site: Site) -> None:
        self._environment = {**os.environ, **dict(site.environment)}

    def check(self, script: Path) -> None:
        """Ask SLURM whether it would take a script.

        Raises
        ------
        ConfigError
            In SLURM's own words, if not.
        UnavailableError
            If there is no sbatch here.
        """
        self._sbatch(["--test-only", str(script)], script)

    def submit(self, script: Path, log: Path, after: list[str]) -> str:
        """Submit a script, to begin when the jobs ``after`` have ended; return its number.

        Raises
        ------
        ConfigError, UnavailableError
            As ``check``.
        """
        options = ["--parsable", f"--output={str(log).replace('%', '%%')}-%A_%a.log"]
        if after:
            options[1] = f"--output={str(log).replace('%', '%%')}-%j.log"
            options.append(f"--dependency=afterany:{':'.join(after)}")
        return self._sbatch([*options, str(script)], script).strip().split(";")[0]

    def cancel(self, jobs: list[str]) -> None:
        """End jobs that should not have been submitted."""
        self._call(["scancel", *jobs])

    def states(self) -> dict[str, str]:
        """Return the states of this user's jobs by number, array tasks apart (``12_3``).

        Raises
        ------
        UnavailableError
            If SLURM does not answer.
        """
        user = f"--user={getpass.getuser()}"
        done = self._call(["squeue", "--noheader", "--array", user, "--format=%i %T"])
        if done.returncode:
            raise UnavailableError(f"squeue: {_said(done)}")
        return dict(line.split(None, 1) for line in done.stdout.splitlines() if " " in line)

    def _sbatch(self, words: list[str], script: Path) -> str:
        done = self._call(["sbatch", *words])
        if done.returncode:
            raise ConfigError(f"{script}: SLURM refuses it: {_said(done)}")
        return done.stdout

    def _call(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True,
                text=True, errors="replace", timeout=SECONDS, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise UnavailableError(
                f"{command[0]} is not installed here: submit from a login node of the cluster, "
                "or look at the scripts with --dry-run"
            ) from None
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{command[0]}: no answer in {SECONDS:g} s") from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {done.returncode}"
