"""``hpcpgd doctor --kit``: try a cluster, and pack results that can be attached to a question."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from hpcpgd.cli.launcher import say, several_ranks
from hpcpgd.doctor import slurm_job
from hpcpgd.doctor.finding import counted
from hpcpgd.doctor.kit import allocation, private_names
from hpcpgd.doctor.kit.kit_steps import Trial
from hpcpgd.doctor.kit.kit_summary import summary, tried
from hpcpgd.doctor.kit.outcome import FAILED, Outcome, attempt
from hpcpgd.doctor.kit.shared_folder import Share, hosts_of
from hpcpgd.environment.provenance import cpu_model, git_revision
from hpcpgd.errors import OutputError, UnavailableError, UsageError
from hpcpgd.results.atomic import write_atomically
from hpcpgd.study.foreground import ended_by_signal
from hpcpgd.version import __version__

MOST = 14 * 60.0  # seconds, of the 15 minutes that slurm/first-contact.sbatch asks for
RESERVE = 90.0  # of these, for figures, the summary and the archive


def make(folder: Path, doctors: Path, launcher: str | None, with_names: bool) -> int:
    """Make a kit; return 0, or 1 if a step failed.

    Parameters
    ----------
    folder : Path
        The kit's folder, which must not exist.
    doctors : Path
        The folder that the doctor checks.
    launcher : str or None
        The launcher, None for this machine's ``mpiexec``.
    with_names : bool
        Whether names and paths are not replaced.

    Raises
    ------
    HpcpgdError
        If the kit cannot be started, or its files cannot be written.
    """
    if several_ranks():
        raise UsageError("--kit: start it without mpiexec or srun: it starts ranks itself")
    kit = _Kit(folder, doctors, launcher, with_names)
    with ended_by_signal():
        for name, step in kit.trial.steps():  # files with names stay in the private folder
            kit.attempt(name, step, kit.trial.end)
        kit.share()
    return int(any(one.status == FAILED for one in kit.outcomes))


class _Kit:
    """A kit that is being made: a folder, its archive, and a private folder."""

    def __init__(self, folder: Path, doctors: Path, launcher: str | None, with_names: bool) -> None:
        self.with_names = with_names
        self.allocation = allocation.find(launcher)
        self.folder, self.private, self.archive = _make_folders(folder)
        end = time.monotonic() + _seconds() - RESERVE
        self.trial = Trial(self.allocation, self.private, doctors.absolute(), end)
        self.outcomes: list[Outcome] = []
        self.tables: list[tuple[str, str]] = []

    def attempt(self, name: str, step: Callable[[], Outcome], end: float = inf) -> None:
        """Make a step and print its outcome."""
        self.outcomes.append(attempt(name, step, end))
        say(tried(self.outcomes[-1:]))

    def share(self) -> None:
        """Write the files that others may read into the folder, and pack it."""
        share = Share(self.folder, self._scrubber())
        for path in [*self.private.glob("doctor-*.txt"), *self.private.glob("study.toml")]:
            share.text(path.name, path.read_text(encoding="utf-8", errors="backslashreplace"))
        try:
            from hpcpgd.doctor.kit.run_results import Results  # loads MPI, so not before
        except UnavailableError as error:
            refused = Outcome(FAILED, str(error))
            self.attempt("results", lambda: refused)
        else:
            results = Results(self.trial, share)
            for name, step in results.steps():
                self.attempt(name, step)
            self.tables = results.tables()
        share.text("SUMMARY.txt", self._summary(share))
        share.pack(self.archive)
        say(f"read {self.folder}/SUMMARY.txt; attach {self.archive} to a question")
        if not self.with_names:
            say(f"which node is node1 and so on stays in {self.private}/names.txt")

    def _scrubber(self) -> Callable[[str], str]:
        """Return a function that replaces names; the private folder keeps the replaced names."""
        hosts = private_names.hosts_of_job()
        for sums in self.trial.sums:
            hosts += sums["hosts"]
        for path in self.trial.run_files():
            with suppress(OSError, KeyError):  # a damaged file, which is not shared either
                hosts += hosts_of(path)
        numbered = private_names.numbered(hosts)
        text = "".join(f"{word} {host}\n" for host, word in numbered.items())
        write_atomically(self.private / "names.txt", text.encode())
        if self.with_names:
            return str
        places = private_names.folders(self.folder, self.private, self.trial.doctors)
        return private_names.scrubber(numbered, hosts, places)

    def _summary(self, share: Share) -> str:
        """Return the summary; names are replaced before lines are broken within them."""
        a, revision = self.allocation, git_revision()
        head = [
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; hpcpgd {__version__} {revision}".rstrip(),
            f"Python {platform.python_version()}, {platform.system()} {platform.release()}, "
            f"{cpu_model()}",
            f"{counted(a.nodes, 'node')}, {counted(a.per_node, 'rank')} each, "
            f"{counted(a.threads, 'thread')} a rank; started by: {' '.join(a.launcher.words)}",
        ]
        outcomes = [
            replace(one, line=share.scrubbed(one.line), odd=tuple(map(share.scrubbed, one.odd)))
            for one in self.outcomes
        ]
        return summary(head, outcomes, a, self.tables, self.with_names)


def _seconds() -> float:
    """Return the time for the whole kit: the usual one, or the rest of the job if it is less."""
    job = slurm_job.observe(os.environ)
    left = None if job is None else job.seconds_left
    return MOST if left is None else min(MOST, left)


def _make_folders(kit: Path) -> tuple[Path, Path, Path]:
    """Make a kit's folders; return their absolute paths and the archive's.

    Raises
    ------
    OutputError
        If one of the paths exists, or a folder cannot be made.
    """
    try:
        folder = kit.absolute()
        private, archive = Path(f"{folder}-private"), Path(f"{folder}.tar.gz")
        for path in (folder, private, archive):
            if os.path.lexists(path):
                raise OutputError(f"--kit: {path} exists already: give another name, or remove it")
        private.mkdir()
        folder.mkdir()
    except OSError as error:
        raise OutputError(f"--kit {kit}: cannot be made: {error.strerror}") from None
    return folder, private, archive
