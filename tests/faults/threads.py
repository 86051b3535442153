"""Trainings that end at random moments, while worker threads are anywhere: none may crash or hang.

A job makes several trainings in the same processes, as to start processes takes longer than a
training.  They have every reduction and backend of the host, on 1 to 4 ranks of 1 to 4 threads.
All but the last end in a way that all ranks agree on: the end, ``--max-steps``, a stop at a random
moment, or divergence.  They free shared memory, which ``$HPCPGD_DEBUG_MEMORY`` makes unreadable at
once.  Before them memory is freed many times right after a step, when threads are late most often.
The last training ends in one of these ways too, or by a signal, an exception or SIGKILL on a random
rank, at a random moment or in a random phase.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.errors import INTERRUPTED, DivergedError, StoppedError
from hpcpgd.kernels.backends.registry import BACKENDS
from tests.faults.jobs import Ended, finish, start
from tests.faults.series import OUTLIVED

TRAININGS = 4  # of a job
TURNS = 15  # of steps behind which memory is freed at once
LIMIT = 300.0  # seconds of a job: cores are shared, and the first may compile all kernels
INTERNAL = 70
WAYS = [
    (reduction, backend)
    for reduction, traits in REDUCTIONS.items()
    for backend in traits.backends
    if not BACKENDS[backend].on_device
]
GROUPS = ("node", "node", "1", "2")
STOPS = {0, StoppedError.exit_code}
# How a training ends by itself, on all ranks: its words, and the exit codes that it may have.
ENDS: dict[str, tuple[list[str], set[int]]] = {
    "end": (["--epochs", "1"], {0}),
    "max-steps": (["--epochs", "9", "--max-steps", "4"], {0}),
    "divergence": (
        ["--learning-rate", "1e30", "--loss", "mse", "--output-activation", "linear"],
        {DivergedError.exit_code},
    ),
    "stop": (["--epochs", "30"], STOPS),
}
PHASES = ("dataset", "planning", "compiling", "reducing", "validation", "test", "run file", "exit")
# How the last one of a job may end besides: what a rank does, and the codes of the job.  None
# stands for any but 0 and a crash's: the launcher's, which differs.  What comes at a random
# moment may come when all is done.
DEEDS: dict[str, set[int | None]] = {
    "SIGTERM": {*STOPS}, "SIGUSR1": {*STOPS}, "SIGINT": {*STOPS, INTERRUPTED}, "SIGKILL": {0, None},
    "RuntimeError": {INTERNAL}, "exit": {INTERNAL},
}  # fmt: skip
NOBODY = -1  # a rank that there is not
# SIGSEGV, SIGBUS and SIGABRT, as shells, Python and launchers report them.
CRASHES = {128 + number for number in (11, 7, 6)} | {-11, -7, -6, 11, 7, 6}
CRASHED = re.compile(r"Fatal Python error|Segmentation fault|Bus error|Caught signal|corrupt")


@dataclass
class Counts:
    """The outcome of a number of jobs.

    Attributes
    ----------
    wrong : list of str
        Every job that did not end as it should.
    """

    jobs: int = 0
    trainings: int = 0
    crashes: int = 0
    outlived: int = 0
    hangs: int = 0
    other_codes: int = 0
    endings: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Job:
    """One job: what it does is drawn, so that a seed and a number give it again."""

    def __init__(self, draw: random.Random, folder: Path, join: bool) -> None:
        self._draw, self._folder = draw, folder
        self.ranks = draw.randint(1, 4)
        trainings = [self._training() for _ in range(TRAININGS - 1)]
        bare = self._words([way for way in WAYS if REDUCTIONS[way[0]].grouped])
        self.deed = draw.choice((*ENDS, *DEEDS))
        self._plan = {
            "join": join, "trainings": trainings, "last": self._last(), "bare": bare,
            "turns": TURNS,
        }  # fmt: skip

    def run(self, counts: Counts) -> None:
        """Run it and count what it came to."""
        plan = _Series(json.dumps(self._plan))
        debug = {"HPCPGD_DEBUG_MEMORY": "1", "PYTHONFAULTHANDLER": "1"}
        ended = finish(start([], self.ranks, plan, **debug), LIMIT)
        counts.jobs += 1
        counts.trainings += TRAININGS
        counts.endings[self.deed] = counts.endings.get(self.deed, 0) + 1
        kind = self._kind(ended)
        if kind:
            setattr(counts, kind, getattr(counts, kind) + 1)
            what = f"{self.ranks} ranks, {self._plan['bare']}, {self._plan['last']}"
            counts.wrong.append(f"{kind}: {what}: code {ended.code}: {ended.error[-3000:]}")

    def _kind(self, ended: Ended) -> str:
        """Say which of the counts a job belongs to, "" if it ended as it should."""
        if ended.code is None:
            return "hangs"
        if ended.code in CRASHES or CRASHED.search(ended.error):
            return "crashes"
        if OUTLIVED in ended.error:
            return "outlived"
        right = ended.code in self._codes or (None in self._codes and ended.code != 0)
        return "" if right else "other_codes"

    def _training(self) -> tuple[list[str], list[int] | None, list[int]]:
        """Return words, who asks for a stop and when, and exit codes."""
        end = self._draw.choice(list(ENDS))
        words, codes = ENDS[end]
        asked = [self._draw.randrange(self.ranks), self._draw.randrange(600)]
        return self._words(WAYS, *words), asked if end == "stop" else None, list(codes)

    def _last(self) -> list[str]:
        """Return the arguments of ``victim`` for the last training."""
        draw = self._draw
        self._codes: set[int | None] = {*ENDS.get(self.deed, ((), ()))[1]} or DEEDS[self.deed]
        fault: tuple[Any, ...] = (NOBODY, "time", 0, "SIGKILL")
        words = ENDS["end"][0]
        if self.deed == "stop":  # by whom is told within the processes alone
            words = ["--epochs", "3", "--time-limit", "1s"]
        elif self.deed in ENDS:
            words = ENDS[self.deed][0]
        elif None in self._codes or 0 in self._codes:
            fault = (draw.randrange(self.ranks), "time", draw.randrange(2000), self.deed)
            words = ["--epochs", "30"]
        else:
            phase = draw.choice(PHASES)
            number = draw.randint(1, 3) if phase == "reducing" else 1
            fault = (draw.randrange(self.ranks), phase, number, self.deed)
        return [*map(str, fault), *self._words(WAYS, *words)]

    def _words(self, ways: list[tuple[str, str]], *end: str) -> list[str]:
        draw = self._draw
        reduction, backend = draw.choice(ways)
        traits = REDUCTIONS[reduction]
        alone = traits.same_bits and not BACKENDS[backend].scheduled
        return [
            *("--reduction", reduction, "--backend", backend, "--quiet", "--overwrite"),
            *("--threads", "1" if alone else str(draw.randint(1, 4))),
            *("--group-size", draw.choice(GROUPS) if traits.grouped else "node"),
            *("--train-rows", "100", "--batch-size", "37", "--checkpoint-every", "never"),
            *("--resume", "never", "--output", str(self._folder / "r.h5"), *end),
        ]


@dataclass(frozen=True)
class _Series:
    """How ``start`` starts a series."""

    plan: str

    def program(self) -> list[str]:
        """Return the arguments of Python."""
        return ["-m", "tests.faults.series", self.plan]
