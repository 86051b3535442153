"""The program many times in one MPI job: to start a job costs more than most checks.

Each rank of that job runs ``python -m tests.helpers.many FOLDER FIRST``.  A case that ends the
job, as MPI_Abort does, gets the exit code of the job, and another job continues after it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.helpers.support import ROOT, Done, environment, python

STREAMS = ("out", "err")


@dataclass(frozen=True)
class Case:
    """One run of the program in a job of many.

    Attributes
    ----------
    words : sequence of str
        The command line after ``hpcpgd``.
    folder : str
        Where it runs.
    ranks : int
        Of its job; 0 for one process without a launcher.
    others : sequence of str
        The words of all ranks but the first, if they are others.
    setup : str
        Python code to run before, of which the cases after it in the job see the effect too.
    """

    words: tuple[str, ...]
    folder: str
    ranks: int = 0
    others: tuple[str, ...] = ()
    setup: str = ""


def together(cases: Mapping[str, Case], timeout: float = 240, **variables: str) -> dict[str, Done]:
    """Run the cases in turn, a job for each number of ranks; return what each did."""
    found: dict[str, Done] = {}
    for ranks in sorted({case.ranks for case in cases.values()}):
        mine = {name: case for name, case in cases.items() if case.ranks == ranks}
        found |= _on(ranks, mine, timeout, variables)
    return found


def _on(
    ranks: int, cases: dict[str, Case], timeout: float, variables: dict[str, str]
) -> dict[str, Done]:
    names, found = list(cases), dict[str, Done]()
    room = Path(tempfile.mkdtemp(prefix="many-"))
    (room / "plan.json").write_text(json.dumps([asdict(case) for case in cases.values()]))
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    env = environment(**{"PYTHONPATH": paths, **variables})
    while len(found) < len(names):
        first = len(found)
        words = ("-m", "tests.helpers.many", str(room), str(first))
        done = python(*words, ranks=ranks or None, timeout=timeout, env=env, cwd=room)
        for number, name in enumerate(names[first:], first):
            found[name] = _outcome(room, number, ranks or 1, done)
            if len(_codes(room, number)) < (ranks or 1):
                break  # this case ended the job
    shutil.rmtree(room)
    return found


def _codes(room: Path, number: int) -> list[int]:
    return [int(path.read_text()) for path in sorted(room.glob(f"{number}-*.code"))]


def _outcome(room: Path, number: int, ranks: int, job: Done) -> Done:
    """Return what a case did: its ranks' exit code, which must be one, or that of the job."""
    out, err = (
        "".join(path.read_text() for path in sorted(room.glob(f"{number}-*.{stream}")))
        for stream in STREAMS
    )
    codes = _codes(room, number)
    if len(codes) < ranks:
        assert job.code, f"case {number} ended the job, and well\n{out}\n{err}"
        return Done(job.code, out + job.out, err + job.err)
    assert len(set(codes)) == 1, f"the ranks of case {number} ended with {codes}"
    return Done(codes[0], out, err)


@contextmanager
def _written(room: Path, name: str) -> Iterator[None]:
    """Let what the body writes, in Python or not, go to files."""
    before = [os.dup(number) for number in (1, 2)]
    try:
        for number, suffix in enumerate(STREAMS, 1):
            with (room / f"{name}.{suffix}").open("wb") as file:
                os.dup2(file.fileno(), number)
        yield
    finally:
        for number, stream in enumerate((sys.stdout, sys.stderr), 1):
            stream.flush()
            os.dup2(before[number - 1], number)
            os.close(before[number - 1])


def _run(case: dict[str, Any], rank: int) -> int:
    """Run one case as this rank and return its exit code."""
    from hpcpgd.cli import console

    os.chdir(case["folder"])
    if case["setup"]:
        exec(case["setup"], {})
    return console.main(case["others"] if rank and case["others"] else case["words"])


def main() -> int:
    """Run the cases from ``FIRST`` on as one rank; collective."""
    from hpcpgd.cli import launcher
    from hpcpgd.machine import jit_cache
    from hpcpgd.parallel import mpi

    room, first = Path(sys.argv[1]), int(sys.argv[2])
    plan = json.loads((room / "plan.json").read_text())
    world, end = mpi.start(), mpi.finish
    mpi.finish = lambda: None  # each case would end MPI
    launcher.HEARING_SECONDS = 0.0  # in which others wait for the end of the one that speaks
    ranks = mpi.join(world)
    jit_cache.share_folder(ranks)  # before a setup imports numba
    mpi.leave(ranks)
    for number, case in enumerate(plan[first:], first):
        name = f"{number}-{world.rank:03d}"
        with _written(room, name):
            code = _run(case, world.rank)
        (room / f"{name}.code").write_text(str(code))
        mpi.patient_barrier(world)
    end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
