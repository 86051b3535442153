"""The jobs of the check in their order, with the results so far."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hpcpgd.errors import UnavailableError
from scripts.bits.cases import Plan, Run
from scripts.bits.compare import Outcome, Weights, distinct, grouped, mismatches, read, read_weights
from scripts.bits.launch import execute


class Check:
    """The execution of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._truth: dict[tuple[str, int], Weights] = {}
        self._outcomes: list[Outcome] = []
        self._failed: list[str] = []
        self._complete = False

    def jobs(self) -> Iterator[str]:
        """Run one job after the other and yield a description of each.

        Raises
        ------
        UnavailableError
            If ``reference`` cannot be run.
        """
        runs = self._plan.references()
        with tempfile.TemporaryDirectory(prefix="hpcpgd-bits-") as name:
            outputs, failure = execute(runs, Path(name), self._plan.epochs)
            if failure:
                raise UnavailableError(f"the runs of backend reference failed: {failure}")
            for run, path in zip(runs, outputs, strict=True):
                self._truth[run.case.name, run.seed] = read_weights(path)
        todo = [*self._plan.jobs(), *([run] for run in self._plan.programs())]
        for number, runs in enumerate(todo, 1):
            self._make(runs)
            self._complete = number == len(todo)
            yield f"job {number} of {len(todo)}: {describe(runs)}"

    def findings(self) -> dict[str, Any]:
        """Return the results so far, ready for JSON."""
        groups = list(grouped(self._outcomes).values())
        return {
            "complete": self._complete,
            "blas": {o.run.core_type: o.blas for o in self._outcomes if o.blas != "none"},
            "runs": len(self._outcomes),
            "comparisons": len(self._outcomes) - len(groups),
            "mismatches": [name for group in groups for name in mismatches(group)],
            "wrong": [f"{o.run.name}: {o.error:.1e}" for o in self._outcomes if o.is_wrong],
            "failed": self._failed,
            "groups": [_summary(group) for group in groups],
        }

    def _make(self, runs: Sequence[Run]) -> None:
        with tempfile.TemporaryDirectory(prefix="hpcpgd-bits-") as name:
            outputs, failure = execute(runs, Path(name), self._plan.epochs)
            if failure:
                self._failed.append(f"{describe(runs)}: {failure}")
                return
            for run, path in zip(runs, outputs, strict=True):
                self._outcomes.append(read(run, path, self._truth[run.case.name, run.seed]))


def _summary(group: Sequence[Outcome]) -> dict[str, Any]:
    case, seed, dtype, core_type = group[0].run.group
    weights, histories = distinct(group)
    return {
        "case": case, "seed": seed, "dtype": dtype, "core_type": core_type,
        "runs": len(group), "ranks": sorted({o.run.ranks for o in group}),
        "distinct_weights": weights, "distinct_histories": histories,
        "params_sha256": group[0].bits["params_sha256"],
        "reference_error": max(o.error for o in group),
    }  # fmt: skip


def describe(runs: Sequence[Run]) -> str:
    """Return a description of a job by what its runs have in common."""
    first = runs[0]
    if first.program:
        return first.name
    return f"{len(runs)} runs, seed {first.seed}, ranks {first.ranks}, core type {first.core_type}"
