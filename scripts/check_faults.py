"""Check that after faults nothing is lost, nothing hangs, and runs continue to the same bits.

    python -m scripts.check_faults [--quick] [--only kills] [--trials 200] [--seed 0]
                                   [--output FILE.json]

``kills``: a rank is killed with SIGKILL at a random moment or in a named phase (writing,
before fsync, before and after rename, loading, reducing).  The run is started again, half of
the time on another number of ranks.  ``signals``: SIGUSR1 or SIGTERM at a random moment.
Weights and histories must be those of an undisturbed run.  ``cuts``: the newest checkpoint is
cut off or has a flipped bit.  ``disk``: each system call that writes a checkpoint or a run
file fails.  ``exceptions``: one rank of four fails at one of twelve points.  ``hangs``: one rank
stops or sleeps.  ``nan``: one has NaN or Inf.  ``flip-replica``: a bit flips in one rank's weights.
``mismatches``: one differs in an option, a version, a library, a source file, a row or a weight.
``slurm``: jobs on a virtual SLURM reach their time limits, or lose a node.  ``fuzz``: hostile
datasets, checkpoints, TOML and run files, 500 in a trial, are read or refused as documented.
``soak``: runs are killed every 20 s for half an hour; nothing else may run on the machine.  The
modules of ``tests/faults`` say what is checked.  The exit code is 1 if a check fails.  Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from hpcpgd.cli.launcher import guarded

if TYPE_CHECKING:
    from tests.faults.kind import Kind, Trial, Undisturbed

# The kinds of faults in the order in which they are tried, each by its place in ``tests/faults``.
KINDS = {
    "kills": "kills.KILLS", "signals": "kills.SIGNALS", "cuts": "cuts.CUTS", "disk": "disk.DISK",
    "exceptions": "exceptions.EXCEPTIONS", "hangs": "hangs.HANGS", "nan": "wrong_numbers.NAN",
    "flip-replica": "wrong_numbers.FLIPS", "mismatches": "mismatches.MISMATCHES",
    "slurm": "cluster.SLURM", "fuzz": "fuzz.FUZZ", "soak": "soak.SOAK",
}  # fmt: skip


def _kind(name: str) -> Kind:
    module, _, constant = KINDS[name].partition(".")
    kind: Kind = getattr(import_module(f"tests.faults.{module}"), constant)
    return kind


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few trials of each kind")
    parser.add_argument("--only", action="append", choices=KINDS, help="default: all kinds")
    parser.add_argument("--trials", type=int, help="trials of each kind; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, help="default: scripts/results/MACHINE-DATE/check_faults.json"
    )
    return parser.parse_args(argv)


def check(options: argparse.Namespace) -> int:
    """Run all trials and return the exit code."""
    from scripts import findings
    from tests.faults.jobs import WORDS

    path = options.output or findings.default_path("check_faults")
    results = {**findings.about("check_faults"), "options": WORDS}
    # Kinds that are not tried now keep their earlier results, which name their commit.
    results["kinds"] = json.loads(path.read_text())["kinds"] if path.exists() else {}
    right = True
    with tempfile.TemporaryDirectory() as folder:
        for kind, result in _kinds(options, Path(folder).resolve()):
            results["kinds"][kind] = result
            findings.write(path, results)
            right = right and not result["wrong"]
    return 0 if right else 1


def _kinds(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the trials of all kinds; yield for each kind the counts and the failures."""
    from scripts.findings import moment
    from tests.faults.kind import Undisturbed

    whole = Undisturbed(folder)
    for name in KINDS:
        kind = _kind(name)
        count = options.trials or (kind.quick if options.quick else kind.full)
        if count and (not options.only or name in options.only):
            begin = perf_counter()
            trials = _trials(name, options, count, folder, whole)
            wrong = _wrong(name, kind, trials)
            right = count - len(wrong)
            print(f"{name}: {right} of {count} right (seed {options.seed})", flush=True)
            yield name, {
                "trials": count, "right": right, "wrong": wrong, **kind.counts,
                "seed": options.seed, **moment(), "seconds": round(perf_counter() - begin, 1),
            }  # fmt: skip


def _trials(
    name: str, options: argparse.Namespace, count: int, folder: Path, whole: Undisturbed
) -> Iterator[Trial]:
    """Yield the trials of a kind, each with a separate folder."""
    from tests.faults.kind import Trial

    for number in range(count):
        place = folder / f"{name}-{number}"
        place.mkdir()
        draw = random.Random(f"{options.seed} {name} {number}")
        yield Trial(number, draw, place, whole, options.quick)
        shutil.rmtree(place)


def _wrong(name: str, kind: Kind, trials: Iterable[Trial]) -> list[str]:
    """Run the trials of a kind; return the failures."""
    wrong = []
    for trial in trials:
        problem = kind.run(trial)
        if problem:
            wrong.append(f"trial {trial.number}: {problem}")
            print(f"{name} {wrong[-1]}", flush=True)
    return wrong


def main(argv: Sequence[str]) -> int:
    return guarded("check_faults", lambda: check(parse(argv)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
