"""The steps of a kit: the doctor, sums of several sizes, and a small strong-scaling study."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hpcpgd.doctor.finding import PROBLEM, WARNING, counted
from hpcpgd.doctor.kit.allocation import Allocation
from hpcpgd.doctor.kit.outcome import FAILED, LEFT_OUT, NO_TIME, OK, SHORTEST, Outcome
from hpcpgd.errors import UnavailableError
from hpcpgd.study.grid import points
from hpcpgd.study.runner import execute, order, run_limited
from hpcpgd.study.study_folder import Job, StudyFolder
from hpcpgd.study.studyfile import StudyFile, read

LIMIT = 120.0  # seconds for one program
STUDY = {"name": "first-contact", "kind": "strong", "repeats": 3, "time_limit": f"{LIMIT:.0f}s"}
REDUCTIONS = ["allreduce", "shared", "reproducible"]
# A small run: it takes one core a second.  A rank that hangs is named before its run is ended.
TRAIN = {
    "dataset": "synthetic:12000x784x10", "network": "net-1h", "batch_size": 512,
    "learning_rate": 0.1, "epochs": 4, "hang_limit": "1min",
}  # fmt: skip


@dataclass
class Trial:
    """The steps of a kit.

    Attributes
    ----------
    private : Path
        The folder of the programs' own files.
    doctors : Path
        The folder that the doctor checks.
    end : float
        Time on the monotonic clock at which all steps must have ended.
    sums : list of dict
        The measurements of ``hpcpgd.doctor.kit.allreduce_times``.
    """

    allocation: Allocation
    private: Path
    doctors: Path
    end: float
    sums: list[dict[str, Any]] = field(default_factory=list)

    @property
    def runs(self) -> StudyFolder:
        """The folder of the study's runs."""
        return StudyFolder(self.private / "study")

    def steps(self) -> list[tuple[str, Callable[[], Outcome]]]:
        """Return the names and the functions of the steps, in their order."""
        trials: list[tuple[str, Callable[[], Outcome]]] = []
        for what, step in (("doctor", self.doctor), ("Allreduce", self.allreduce)):
            for nodes in self.allocation.counts:
                ranks = nodes * self.allocation.per_node
                where = f"{counted(ranks, 'rank')} on {counted(nodes, 'node')}"
                trials.append((f"{what}, {where}", partial(step, nodes)))
        return [*trials, ("scaling study", self.study)]

    def doctor(self, nodes: int) -> Outcome:
        """Run the doctor on ``nodes``."""
        words = ("hpcpgd.doctor", "--folder", str(self.doctors))
        code, error, text = self._program("doctor", nodes, words)
        lines = text.splitlines()
        odd = tuple(line for line in lines if line.startswith((PROBLEM, WARNING)))
        problems = [line for line in odd if line.startswith(PROBLEM)]
        if code == 0:
            return Outcome(OK, lines[-1], text, odd)
        if code is None:  # the doctor's last problem names the check that hung
            return Outcome(FAILED, "; ".join([error, *problems[-1:]]), text, odd)
        return Outcome(FAILED, [*problems, error or f"exit code {code}"][0], text, odd)

    def allreduce(self, nodes: int) -> Outcome:
        """Measure sums over all ranks of ``nodes``."""
        if nodes * self.allocation.per_node == 1:
            return Outcome(LEFT_OUT, "a sum needs two ranks")
        words = ("hpcpgd.doctor.kit.allreduce_times",)
        code, error, text = self._program("allreduce", nodes, words)
        if code != 0:
            return Outcome(FAILED, error or f"exit code {code}", text)
        measured = json.loads(text)
        self.sums.append(measured)
        size, seconds = measured["sums"][-1]
        line = f"{size // 2**20} MiB take {seconds * 1e3:.3g} ms"
        there = measured["nodes"]
        odd = () if there == nodes else (f"ran on {counted(there, 'node')}, meant for {nodes}",)
        return Outcome(OK, line, text, odd)

    def _program(
        self, what: str, nodes: int, words: tuple[str, ...]
    ) -> tuple[int | None, str, str]:
        """Run a module of hpcpgd on all ranks of ``nodes``.

        Returns
        -------
        code : int or None
            None if the program was ended at its time limit.
        error, text : str
            The line of its standard error that gives the reason, and its standard output.
        """
        a, launcher = self.allocation, self.allocation.launcher
        command = [*launcher.command(nodes * a.per_node, a.threads), sys.executable, "-m", *words]
        limit = min(LIMIT, self.end - time.monotonic())
        path = self.private / f"{what}-{nodes}.txt"
        with path.open("wb") as output:
            code, error = run_limited(command, limit, launcher.environment(), output)
        return code, error, path.read_text(encoding="utf-8", errors="backslashreplace")

    def study(self) -> Outcome:
        """Run a strong-scaling study; a point that has failed is not repeated."""
        study, place = self.study_file(), self.runs
        place.make()
        all_points, bad = points(study), dict[str, str]()
        for job in order(all_points, study.repeats):
            left = self.end - time.monotonic()
            if job.task.key not in bad and left >= SHORTEST:
                self._run(job, min(LIMIT, left), bad)
        done, wanted = len(self.run_files()), len(all_points) * study.repeats
        line = f"{done} of {counted(wanted, 'run')} ended well"
        if bad:
            return Outcome(FAILED, f"{line}; {next(iter(bad.values()))}", odd=tuple(bad.values()))
        return Outcome(OK, line if done == wanted else f"{line}; {NO_TIME} for the others")

    def study_file(self) -> StudyFile:
        """Write the study file and return its content."""
        import tomli_w

        a = self.allocation
        tables = {
            "study": STUDY,
            "grid": {"ranks": a.ranks, "reduction": REDUCTIONS},
            "train": {**TRAIN, "threads": a.threads},
        }
        path = self.private / "study.toml"
        path.write_text(tomli_w.dumps(tables))
        return read(path)

    def run_files(self) -> list[Path]:
        """Return the files of the runs that ended well."""
        return sorted((self.runs.path / "runs").glob("[!.]*.h5"))

    def _run(self, job: Job, limit: float, bad: dict[str, str]) -> None:
        """Make one run, and keep the message if it fails."""
        try:
            failure = execute(self.runs, job, limit, self.allocation.launcher)
        except UnavailableError as error:  # the launcher may still start ranks on fewer nodes
            bad[job.task.key] = f"{job.name}: {error}"
            return
        if failure is not None:
            bad[job.task.key] = f"{job.name}: {failure.status}: {failure.error}"
