"""The folder of a study: one class owns every file name in it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from hpcpgd.errors import DataError, OutputError
from hpcpgd.results.atomic import make_folder, write_atomically
from hpcpgd.results.locks import lock
from hpcpgd.study.launchers import Launcher


class Task(Protocol):
    """The work of one process of a study: a point of the grid, or the program of a library."""

    suffix: str

    @property
    def ranks(self) -> int:
        """How many ranks the launcher starts, 0 for a program that needs none."""

    @property
    def key(self) -> str:
        """A file name that no other task has."""

    def command(self, launcher: Launcher, output: Path) -> list[str]:
        """Return the command that runs it and writes its result to ``output``.

        Raises
        ------
        DataError
            If something that it needs is missing.
        """


@dataclass(frozen=True)
class Job:
    """One process to run."""

    task: Task
    repeat: int

    @property
    def name(self) -> str:
        """The name of its files, which no other job of the study has."""
        return f"{self.task.key}-{self.repeat:03d}"


@dataclass(frozen=True)
class Failure:
    """A run that did not end well.

    Attributes
    ----------
    status : str
        ``failed``, ``diverged``, ``timed out`` or ``not made``.
    code : int
        Exit code, that of the launcher.
    error : str
        The last line of its standard error.
    """

    status: str
    code: int
    error: str


@dataclass(frozen=True)
class StudyFolder:
    """Run files, failures and results of a study."""

    path: Path

    def make(self) -> None:
        """Make the folder.

        Raises
        ------
        OutputError
            If it cannot be made.
        """
        make_folder(self.path / "runs", f"--folder {self.path}")

    def keep(self, study: Path, name: str) -> None:
        """Copy the TOML file of the study into the folder."""
        copy, text = self.path / f"{name}.toml", study.read_bytes()
        if not copy.exists() or copy.read_bytes() != text:
            write_atomically(copy, text)

    def study_file(self) -> Path:
        """Return the study file that was kept here; DataError unless there is one."""
        copies = sorted(self.path.glob("*.toml"))
        if len(copies) != 1:
            names = ", ".join(copy.name for copy in copies) or "no TOML file"
            raise DataError(
                f"{self.path}: holds {names}, expected the one study that hpcpgd study run keeps "
                "in its folder: name the study's TOML file instead"
            )
        return copies[0]

    def run_file(self, job: Job) -> Path:
        """Return where a finished run is."""
        return self.path / "runs" / f"{job.name}{job.task.suffix}"

    def running_file(self, job: Job) -> Path:
        """Return a new name for the file of a run that is not finished."""
        # Not the process id: a process on another host may have the same.
        name = f".{job.name}-{secrets.token_hex(4)}.running{job.task.suffix}"
        return self.path / "runs" / name

    def clean(self) -> None:
        """Remove the files of killed runs; no other process may make runs here."""
        for path in (self.path / "runs").glob(".*.running.*"):
            path.unlink(missing_ok=True)

    def failure_file(self, job: Job) -> Path:
        """Return the file that says why a run failed."""
        return self.run_file(job).with_suffix(".failed.json")

    def is_done(self, job: Job) -> bool:
        """Return whether a run has finished, well or not."""
        return self.run_file(job).exists() or self.failure_file(job).exists()

    def write_failure(self, job: Job, failure: Failure) -> None:
        """Write why a run failed."""
        data = json.dumps(asdict(failure), indent=1).encode()
        write_atomically(self.failure_file(job), data)

    def forget_failures(self, jobs: Iterable[Job]) -> None:
        """Remove what is known of failed runs, so that they are made again."""
        for job in jobs:
            self.failure_file(job).unlink(missing_ok=True)

    def read_failure(self, job: Job) -> Failure | None:
        """Return why a run failed, None if it has not failed.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        path = self.failure_file(job)
        if not path.exists():
            return None
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            return Failure(str(note["status"]), int(note["code"]), str(note["error"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise DataError(f"{path}: no note of a failed run: {error}") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from running the same study at the same time.

        Raises
        ------
        OutputError
            If one does, or the folder cannot be locked.
        """
        try:
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}") from None
        with file:
            # Runs inherit it: one that goes on after this process was killed keeps the lock.
            os.set_inheritable(file.fileno(), True)
            held = lock(file)
            if held is None:
                raise OutputError(
                    f"{self.path}: cannot be locked: take a --folder on another file system"
                )
            if not held:
                raise OutputError(
                    f"{self.path}: another process makes runs here: wait for it, end it, or "
                    "take another --folder"
                )
            yield
