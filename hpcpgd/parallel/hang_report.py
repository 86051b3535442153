"""Who is still there: what each rank says of itself, and what follows from it."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from hpcpgd.parallel import mpi

ANSWER_SECONDS = 5.0  # seconds in which a rank must answer
PAUSE = 0.05  # seconds between looks for answers
PACKAGE = Path(__file__).parents[1]
# Which calls compiled code that waits.
WORKER_POOL = str(PACKAGE / "kernels" / "schedule" / "worker_pool.py")


@dataclass(frozen=True)
class RankReport:
    """What a rank says of itself.

    Attributes
    ----------
    where : str
        The function that its thread is in.
    waits : bool
        Whether that is in a collective.
    phase : str
    waited : float
        Seconds in its collective.
    """

    where: str
    waits: bool
    phase: str
    waited: float

    def told(self) -> str:
        """Say it."""
        if self.waits:
            return f"waits in {self.where} for {self.waited:.0f} s"
        return f"is in {self.where}"

    def to_bytes(self) -> bytes:
        """Return what ``from_bytes`` reads."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> RankReport:
        """Return what another rank said."""
        return cls(**json.loads(data))


@dataclass(frozen=True)
class Found:
    """What a roll call found.

    Attributes
    ----------
    answers : dict of int to RankReport
    hosts : sequence of str
        Host and process of every rank.
    """

    answers: dict[int, RankReport]
    hosts: Sequence[str]

    @property
    def worst(self) -> RankReport:
        """Who has waited for the longest time."""
        return max(self.answers.values(), key=lambda answer: answer.waited)

    def culprits(self) -> str:
        """Name the ranks for which the others wait."""
        silent = [rank for rank in range(len(self.hosts)) if rank not in self.answers]
        if silent:
            return (
                f"{self._names(silent)} did not answer in {ANSWER_SECONDS:g} s: stopped, dead or "
                "cut off; start the same command again, on other nodes if it comes again"
            )
        away = [rank for rank, answer in self.answers.items() if not answer.waits]
        if away:
            places = {self.answers[rank].where for rank in away}
            return f"{self._names(away)} did not come to it, but was in {' and '.join(places)}"
        return "all ranks answer and wait, see their stacks: please report this"

    def _names(self, ranks: Sequence[int]) -> str:
        named = ", ".join(f"{rank} ({self.hosts[rank]})" for rank in ranks[:8])
        more = f" and {len(ranks) - 8} more" if len(ranks) > 8 else ""
        return f"rank{'s' * (len(ranks) > 1)} {named}{more}"


def roll_call(
    comm: mpi.Comm, own: RankReport, hosts: Sequence[str], heard: tuple[int, bytes] | None
) -> Found:
    """Tell all ranks of this one, and learn who answers; each rank runs this by itself.

    It returns first on the lowest rank that answers, which is then to end the job.

    Parameters
    ----------
    comm : Comm
    own : RankReport
    hosts : sequence of str
        Host and process of every rank.
    heard : tuple of int and bytes, or None
        A rank, and its answer, whose call this rank has already taken.
    """
    requests = [
        mpi.isend_bytes(comm, own.to_bytes(), to) for to in range(comm.size) if to != comm.rank
    ]
    answers, letter = {comm.rank: own}, heard
    end = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < end and len(answers) < comm.size:
        if letter is not None:
            answers[letter[0]] = RankReport.from_bytes(letter[1])
        else:
            mpi.progress(requests)
            time.sleep(PAUSE)
        letter = mpi.poll_bytes(comm)
    before = sum(rank < comm.rank for rank in answers)
    time.sleep(before * ANSWER_SECONDS)  # should those before this one fail to end the job
    return Found(dict(sorted(answers.items())), hosts)


def location_of(frame: FrameType, waits: bool) -> tuple[str, bool]:
    """Return the innermost function of this package in ``frame``, and whether it waits there.

    A thread waits for other ranks where it has called MPI, which one module does, or compiled
    code, of which ``waits`` says that somebody waits there.
    """
    code = frame.f_code
    inside: FrameType | None = frame
    while inside is not None and PACKAGE not in Path(inside.f_code.co_filename).parents:
        inside = inside.f_back
    if inside is not None:
        code, line = inside.f_code, inside.f_lineno
    else:
        line = frame.f_lineno
    name = f"{code.co_name} ({Path(code.co_filename).name}, line {line})"
    called = frame.f_code.co_filename
    return name, called == mpi.__file__ or (waits and called == WORKER_POOL)


def stacks(watched: int) -> str:
    """Return the Python stacks of this process, that of thread ``watched`` first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    others = [ident for ident in frames if ident not in (watched, threading.get_ident())]
    parts = []
    for ident in [watched, *others]:
        parts.append(f"  thread {names.get(ident, ident)}:\n")
        parts.extend(f"  {line}" for line in traceback.format_stack(frames[ident]))
    return "".join(parts)
