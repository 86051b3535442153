"""Wrong numbers on one rank: NaN ends the run in its step; a flipped bit is never kept.

Bits are flipped where ranks have copies of their own.  Ranks that share memory (``shared``
within a group) have one copy, and ``reproducible`` replaces what differs after each step by
what one rank computed: there is nothing to compare.  A flip that rounding has undone before
ranks compare is counted; nothing holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hpcpgd.checkpoint.checkpoint_folder import Folder, load
from hpcpgd.checkpoint.state import State
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.errors import DivergedError, ReplicaError
from hpcpgd.kernels.backends.registry import TILE_PARTS
from hpcpgd.kernels.tiles.amx import refusal
from tests.faults.jobs import Ended, finish, start
from tests.faults.kind import Kind, Trial

BATCH, ROWS, COLUMNS, CLASSES = 37, 330, 20, 5
STEPS = 8  # of an epoch: 275 rows are for training
EPOCHS, EVERY = 4, 5
WORDS = (
    "--train-rows", "275", "--batch-size", str(BATCH), "--epochs", str(EPOCHS), "--threads",
    "1", "--quiet", "--checkpoint-every", str(EVERY), "--hidden", "24,16",
)  # fmt: skip
# With ``reproducible`` groups of several ranks gather rows that another group may score.
SIZES = {"shared": ("node", "2", "1"), "reproducible": ("node", "1")}
COPIES = (
    ("--reduction", "allreduce"), ("--reduction", "overlap"),
    ("--reduction", "shared", "--group-size", "1"),
)  # fmt: skip
FLIPPED = {"found as other weights": 0, "found as NaN": 0, "undone by rounding": 0}


@dataclass(frozen=True)
class Corruption:
    """A wrong number: see ``corrupt.py``."""

    rank: int
    what: str
    step: int
    seed: int
    folder: Path

    def program(self) -> list[str]:
        """Return how Python is started."""
        words = (self.rank, self.what, self.step, self.seed, self.folder)
        return ["-m", "tests.faults.corrupt", *map(str, words)]


@dataclass(frozen=True)
class Job:
    """A job with a wrong number that has ended."""

    ranks: int
    fault: Corruption
    words: tuple[str, ...]
    ended: Ended

    @property
    def name(self) -> str:
        """What happened, for a report."""
        words, fault = " ".join(self.words), self.fault
        return f"{fault.what} in step {fault.step} on rank {fault.rank} of {self.ranks}, {words}"

    def said(self) -> list[str]:
        """Return what each rank's run ended with."""
        paths = [self.fault.folder / f"rank{rank}" for rank in range(self.ranks)]
        return [path.read_text() if path.exists() else "no error" for path in paths]

    def same_weights(self, step: int) -> bool:
        """Return whether all ranks had the same weights after a step, by their own hashes."""
        paths = [self.fault.folder / f"weights{rank}-{step}" for rank in range(self.ranks)]
        return len({path.read_text() for path in paths}) == 1

    def checkpoints(self) -> list[State]:
        """Return the checkpoints, the last first."""
        return [load(p) for p in Folder(self.fault.folder / "r.checkpoints").newest_first()]


def _run(trial: Trial, what: str, words: tuple[str, ...]) -> Job:
    draw, data = trial.draw, trial.folder / "d.npz"
    values = np.random.default_rng(draw.randrange(2**32))
    x = values.random((ROWS, COLUMNS), np.float32)
    np.savez(data, x_train=x, y_train=np.arange(ROWS) % CLASSES)
    ranks = draw.randint(2, 4)
    step, seed = draw.randint(1, EPOCHS * STEPS), draw.randrange(2**32)
    fault = Corruption(draw.randrange(ranks), what, step, seed, trial.folder)
    files = ("--dataset", str(data), "--output", str(trial.folder / "r.h5"))
    return Job(ranks, fault, words, finish(start([*WORDS, *files, *words], ranks, fault)))


def nan_trial(trial: Trial) -> str:
    """Let one rank compute NaN or Inf; return what is wrong, "" if nothing is."""
    draw = trial.draw
    what = draw.choice(("row", "infinity"))
    precision = draw.choice(("float32", *(() if refusal() else TILE_PARTS)))
    words: tuple[str, ...] = ("--activation", draw.choice(("sigmoid", "tanh", "relu")))
    words += ("--matmul-precision", precision)
    reduction = draw.choice([*REDUCTIONS])
    if not REDUCTIONS[reduction].grouped:  # else no rank has a gradient of its own
        what = draw.choice((what, "gradient"))
    else:
        words += ("--group-size", draw.choice(SIZES[reduction]))
    job = _run(trial, what, ("--reduction", reduction, *words))
    problem = _nan_problem(job)
    return problem and f"{job.name}: {problem}"


def _nan_problem(job: Job) -> str:
    step, ended = job.fault.step, job.ended
    epoch, minibatch = divmod(step - 1, STEPS)
    where = f"epoch {epoch + 1}, step {minibatch + 1} of {STEPS}:"
    if ended.code != DivergedError.exit_code or ended.error.count("\n") != 1:
        return f"exit code {ended.code}: {ended.error[-300:]}"
    if not all(where in text for text in job.said()):
        return f"not {where} {job.said()}"
    with h5py.File(job.fault.folder / "r.h5") as file:
        status, last = file.attrs["status"], int(file["segments/last_step"][-1])
    if (status, last) != ("diverged", step):
        return f"the run file says {status} after {last} steps"
    return _last_good(job)


def _last_good(job: Job) -> str:
    """Say what is wrong with the checkpoints, "" if the last one before the fault is there."""
    good = (job.fault.step - 1) // EVERY * EVERY
    states = job.checkpoints()
    if [state.steps for state in states] != list(range(good, max(good - 3 * EVERY, 0), -EVERY)):
        return f"checkpoints after {[state.steps for state in states]} steps"
    finite = all(np.isfinite(state.parameters).all() for state in states)
    return "" if finite else "a checkpoint holds NaN"


def flip_trial(trial: Trial) -> str:
    """Flip a bit of one rank's weights; return what is wrong, "" if nothing is."""
    job = _run(trial, "flip", trial.draw.choice(COPIES))
    problem = _flip_problem(job)
    return problem and f"{job.name}: {problem}"


def _flip_problem(job: Job) -> str:
    fault, ended = job.fault, job.ended
    if ended.code == DivergedError.exit_code:  # the weight became huge, or NaN itself
        FLIPPED["found as NaN"] += 1
        return _last_good(job)
    seen = min(-(-fault.step // every) * every for every in (EVERY, STEPS))
    if ended.code == 0 and job.same_weights(seen):
        # The last bits of a small number are gone once something large was added.
        FLIPPED["undone by rounding"] += 1
        return ""
    FLIPPED["found as other weights"] += 1
    rank = fault.rank if job.ranks > 2 else 1  # of two, nobody knows which is right
    layer = (fault.folder / "done").read_text()
    before = max((fault.step - 1) // every * every for every in (EVERY, STEPS))
    when = f"first seen after step {seen}, alike after step {before};"
    words = (f"rank {rank} holds other weights in {layer} than", when)
    named = all(word in text for word in words for text in job.said())
    if ended.code != ReplicaError.exit_code or not named or ended.error.count("\n") != 1:
        return f"exit code {ended.code}, not {words}: {job.said()} {ended.error[-300:]}"
    return _last_good(job)


NAN = Kind(50, 1, nan_trial)
FLIPS = Kind(100, 1, flip_trial, FLIPPED)
