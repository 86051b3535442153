"""Check that reduction ``reproducible`` gives the same bits for every number of ranks.

    python -m scripts.check_bits [--quick] [--output FILE.json] [--seeds 0 1 2] [--only CASE]

Starts jobs of 1 to 32 ranks, each of which trains all configurations one after the other
with every group size and number of threads.  Weights and histories must be the same to the
last bit, and the weights near those of backend ``reference``.  The exit code is 1 if they are
not.  The results so far are written after each job.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter

from hpcpgd.cli.launcher import guarded
from hpcpgd.errors import UsageError


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="two configurations, 1 to 5 ranks")
    parser.add_argument(
        "--output", type=Path, help="default: scripts/results/MACHINE-DATE/check_bits.json"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--only", action="append", metavar="CASE", help="default: all cases")
    parser.add_argument("--ranks-part", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if min(options.seeds) < 0:
        parser.error(f"--seeds: expected whole numbers from 0, got {min(options.seeds)}")
    return options


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    if options.ranks_part:
        from scripts.bits import job

        return job.run(options.ranks_part)
    return guarded("check_bits", lambda: check(options))


def check(options: argparse.Namespace) -> int:
    """Run all jobs and return the exit code."""
    from hpcpgd.machine.cores import affinity
    from scripts import findings
    from scripts.bits import cases, report
    from scripts.bits.check import Check

    plan = (cases.quick if options.quick else cases.full)(options.seeds)
    if options.only:
        names = [case.name for case in plan.cases]
        if unknown := [name for name in options.only if name not in names]:
            tiled = unknown[0] in [case.name for case in cases.TILED]
            why = "bf16 and bf16x6 need a processor with AMX"
            reason = f"{'not in the quick form' if options.quick else why}: " * tiled
            raise UsageError(f"--only {unknown[0]}: {reason}expected one of {', '.join(names)}")
        plan = replace(plan, cases=tuple(c for c in plan.cases if c.name in options.only))
    path = options.output or findings.default_path("check_bits")
    about = {**findings.about("check_bits", cores_used=len(affinity())), "plan": asdict(plan)}
    begin, checking = perf_counter(), Check(plan)
    for job in checking.jobs():
        results = about | checking.findings() | {"seconds": round(perf_counter() - begin)}
        findings.write(path, results)
        print(f"{results['seconds']:5} s  {job}", flush=True)
    print(report.table(results))
    return 1 if any(results[kind] for kind in report.KINDS) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
