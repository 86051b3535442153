"""Check that no worker thread outlives the memory that it reads, however a training run ends.

    python -m scripts.check_threads [--quick] [--runs 500] [--seed 0] [--output FILE.json]
                                    [--without-join]

Each run is a job under mpiexec that trains several times in the same processes (see
``tests/faults/threads.py``), as a short job spends most of its time on starting Python and MPI.
Two more processes keep two cores busy, so that threads are late.  Freed memory becomes unreadable
at once.  Crashes, threads that outlive memory, hangs and unexpected exit codes are counted, and
the exit code is 1 if there are any.  With ``--without-join`` threads are not joined: then the
check must find errors, or it cannot find any.  The results so far are written after each run.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from hpcpgd.cli.launcher import guarded

QUICK_RUNS = 4
SPINNERS = 2


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, help="default: scripts/results/MACHINE-DATE/check_threads.json"
    )
    parser.add_argument("--without-join", action="store_true", help="do not join: must fail")
    return parser.parse_args(argv)


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep cores busy during the body."""
    command = [sys.executable, "-c", "while True: pass"]
    spinners = [subprocess.Popen(command) for _ in range(SPINNERS)]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def check(options: argparse.Namespace) -> int:
    """Run all jobs and return the exit code."""
    from scripts import findings
    from tests.faults.threads import Counts, Job

    path = options.output or findings.default_path("check_threads")
    about = findings.about("check_threads")
    about |= {"seed": options.seed, "join": not options.without_join}
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder, busy_cores():
        for number in range(QUICK_RUNS if options.quick else options.runs):
            draw = random.Random(f"{options.seed} {number}")
            Job(draw, Path(folder).resolve(), not options.without_join).run(counts)
            findings.write(path, about | asdict(counts))
    print(
        f"{counts.jobs} jobs, {counts.trainings} trainings: {counts.crashes} crashes, "
        f"{counts.outlived} with threads that outlive memory, "
        f"{counts.hangs} hangs, {counts.other_codes} unexpected exit codes (seed {options.seed})"
    )
    for line in counts.wrong:
        print(line, file=sys.stderr)
    return 1 if counts.wrong else 0


def main(argv: Sequence[str]) -> int:
    return guarded("check_threads", lambda: check(parse(argv)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
