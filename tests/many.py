"""The program many times in one MPI job: to start a job costs more than most checks.

``python -m tests.many FOLDER FIRST`` is what each rank of that job runs.  A case that ends the
job, as MPI_Abort does, has the job's exit code, and another job goes on with the case after it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support import Done, environment, python

ROOT = Path(__file__).parent.parent
STREAMS = ("out", "err")


@dataclass(frozen=True)
class Case:
    """The words behind ``hpcpgd``, and the folder to run them in."""

    words: tuple[str, ...]
    folder: Path


def together(
    cases: Mapping[str, Case], ranks: int | None = None, timeout: float = 240, **variables: str
) -> dict[str, Done]:
    """Run the cases one after the other, in as few jobs as possible; return what each did."""
    names, found = list(cases), dict[str, Done]()
    room = Path(tempfile.mkdtemp(prefix="many-"))
    plan = [[list(case.words), str(case.folder)] for case in cases.values()]
    (room / "plan.json").write_text(json.dumps(plan))
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    env = environment(**{"PYTHONPATH": paths, **variables})
    while len(found) < len(names):
        first = len(found)
        words = ("-m", "tests.many", str(room), str(first))
        done = python(*words, ranks=ranks, timeout=timeout, env=env, cwd=room)
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
    streams = (sys.stdout, sys.stderr)
    before = [os.dup(number) for number in (1, 2)]
    try:
        for number, stream in enumerate(STREAMS, 1):
            with (room / f"{name}.{stream}").open("wb") as file:
                os.dup2(file.fileno(), number)
        yield
    finally:
        for number, stream in enumerate(streams, 1):
            stream.flush()
            os.dup2(before[number - 1], number)
            os.close(before[number - 1])


def main() -> int:
    """Run the cases from ``FIRST`` on as one rank; collective."""
    from hpcpgd import cli, mpi

    room, first = Path(sys.argv[1]), int(sys.argv[2])
    world = mpi.start()
    end, mpi.finish = mpi.finish, lambda: None  # each case would end MPI
    plan = json.loads((room / "plan.json").read_text())
    for number, (words, folder) in enumerate(plan[first:], first):
        os.chdir(folder)
        name = f"{number}-{world.rank:03d}"
        with _written(room, name):
            code = cli.main(words)
        (room / f"{name}.code").write_text(str(code))
        mpi.patient_barrier(world)
    end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
