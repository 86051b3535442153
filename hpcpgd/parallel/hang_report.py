"""Which ranks still answer when a job hangs, and which of them the others wait for."""

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
# The file that calls the compiled code in which worker threads wait.
WORKER_POOL = str(PACKAGE / "kernels" / "schedule" / "worker_pool.py")


@dataclass(frozen=True)
class RankReport:
    """Where a rank is, as it reports it to the others.

    Attributes
    ----------
    where : str
        The function that its thread is in.
    waits : bool
        Whether it waits in a collective there.
    waited : float
        Seconds in its collective.
    """

    where: str
    waits: bool
    phase: str
    waited: float

    def describe(self) -> str:
        """Return the report as a phrase for a message."""
        if self.waits:
            return f"waits in {self.where} for {self.waited:.0f} s"
        return f"is in {self.where}"

    def to_bytes(self) -> bytes:
        """Return what ``from_bytes`` reads."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> RankReport:
        """Return the report that another rank sent."""
        return cls(**json.loads(data))


@dataclass(frozen=True)
class RollCall:
    """The reports of the ranks that answered.

    Attributes
    ----------
    hosts : sequence of str
        Host and process of every rank.
    """

    answers: dict[int, RankReport]
    hosts: Sequence[str]

    @property
    def worst(self) -> RankReport:
        """The report of the rank that has waited longest."""
        return max(self.answers.values(), key=lambda answer: answer.waited)

    def culprits(self) -> str:
        """Name the ranks for which the others wait."""
        silent = [rank for rank in range(len(self.hosts)) if rank not in self.answers]
        if silent:
            return (
                f"{self._names(silent)} did not answer in {ANSWER_SECONDS:g} s: stopped, dead or "
                "cut off; start the same command again with --overwrite, which goes on from a "
                "checkpoint if there is one, on other nodes if it comes again"
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
    comm: mpi.Comm, own: RankReport, hosts: Sequence[str], received: tuple[int, bytes] | None
) -> RollCall:
    """Send this rank's report to all others and collect theirs.

    Not collective: each rank that sees the hang calls it.  It returns first on the lowest rank
    that answers, and that rank then ends the job.

    Parameters
    ----------
    hosts : sequence of str
        Host and process of every rank.
    received : tuple of int and bytes, or None
        A rank and its report, if a message of one has already arrived.
    """
    requests = [
        mpi.isend_bytes(comm, own.to_bytes(), to) for to in range(comm.size) if to != comm.rank
    ]
    answers, message = {comm.rank: own}, received
    end = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < end and len(answers) < comm.size:
        if message is not None:
            answers[message[0]] = RankReport.from_bytes(message[1])
        else:
            mpi.progress(requests)
            time.sleep(PAUSE)
        message = mpi.poll_bytes(comm)
    before = sum(rank < comm.rank for rank in answers)
    # Lower ranks come first.  If they fail to end the job, this one does it after them.
    time.sleep(before * ANSWER_SECONDS)
    return RollCall(dict(sorted(answers.items())), hosts)


def location_of(frame: FrameType, waits: bool) -> tuple[str, bool]:
    """Return the innermost function of this package in ``frame``, and whether it waits there.

    A thread waits for other ranks if it is in a call of MPI, which one module makes.  It also
    waits if it is in compiled code and ``waits`` says that a worker waits at a barrier there.
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
