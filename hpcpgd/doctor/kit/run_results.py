"""Results of a kit's runs: whether bits are the same, sums, scaling and figures."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.doctor.allreduce_check import duration
from hpcpgd.doctor.finding import counted
from hpcpgd.doctor.kit.allocation import Allocation
from hpcpgd.doctor.kit.kit_steps import Trial
from hpcpgd.doctor.kit.outcome import FAILED, LEFT_OUT, OK, Outcome
from hpcpgd.doctor.kit.shared_folder import Share
from hpcpgd.errors import HpcpgdError
from hpcpgd.study.collect import gather, write
from hpcpgd.study.grid import points
from hpcpgd.study.report_command import report
from hpcpgd.study.rows import Row
from hpcpgd.study.studyfile import read
from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import aligned, figure, remarks, time

SMALL = 2**15  # bytes; the rate of less is meaningless
POOR = 0.5  # an efficiency below this is listed with its cause
CAUSES = {
    "communication": "time goes into the Allreduce and into waiting for other ranks",
    "load_balance": "some ranks compute longer than others: slower or shared cores",
    "computation": "arithmetic is slower than on one rank: small slices, shared cores or memory",
}


@dataclass
class Results:
    """The shared results of the runs, made step by step.

    Attributes
    ----------
    rows : list of Row
        Runs that have ended, with replaced names.
    """

    trial: Trial
    share: Share
    rows: list[Row] = field(default_factory=list)
    points: list[Summary] = field(default_factory=list)

    def steps(self) -> list[tuple[str, Callable[[], Outcome]]]:
        """Return the names and the functions of the steps, in their order."""
        return [
            ("Allreduce table", self.sums),
            ("scaling", self.collect),
            ("the same bits", lambda: same_bits(self.rows)),
            ("figures", self.draw),
        ]

    def tables(self) -> list[tuple[str, str]]:
        """Return the tables of the summary, with titles."""
        sums = [("Allreduce", allreduce_table(self.trial.sums))] if self.trial.sums else []
        study = [("Scaling study", scaling_table(self.points))] if self.points else []
        return [*sums, *study]

    def sums(self) -> Outcome:
        """Write the table of sums into the folder."""
        if not self.trial.sums:
            return Outcome(LEFT_OUT, "nothing was measured")
        self.share.text("allreduce.txt", allreduce_table(self.trial.sums) + "\n")
        return Outcome(OK, "allreduce.txt")

    def collect(self) -> Outcome:
        """Write the study file and the run files into the folder."""
        path = self.trial.private / "study.toml"
        study = read(path) if path.exists() else None  # missing if no time was left for the study
        rows = gather(study, self.trial.runs, None) if study else []
        if study is None or not rows:
            return Outcome(LEFT_OUT, "no run has ended")
        texts = [column.name for column in fields(Row) if column.type == "str"]
        for row in rows:
            clean = {name: self.share.scrubbed(getattr(row, name)) for name in texts}
            self.rows.append(replace(row, **clean))
        wanted = len(points(study)) * study.repeats
        self.points = write(self.share.folder / "study.h5", study, self.rows, wanted)
        for path in self.trial.run_files():
            self.share.run_file(path)
        odd = tuple(odd_points(self.points, self.trial.allocation))
        return Outcome(OK, f"{len(rows)} of {counted(wanted, 'run')} in study.h5 and runs", odd=odd)

    def draw(self) -> Outcome:
        """Write the study's tables and draw its figures."""
        if not self.rows:
            return Outcome(LEFT_OUT, "no run has ended")
        output, outcome = io.StringIO(), Outcome(OK, "study.txt and figures")
        try:
            with redirect_stdout(output):
                report(self.share.folder / "study.h5", None)
        except HpcpgdError as error:  # for example matplotlib is missing; the tables are printed
            outcome = Outcome(FAILED, str(error))
        self.share.text("study.txt", output.getvalue())
        return outcome


def same_bits(rows: Sequence[Row]) -> Outcome:
    """Judge whether all runs with a reduction that keeps the bits have the same weights."""
    ended = [row for row in rows if row.status == "complete"]
    runs = [row for row in ended if REDUCTIONS[row.reduction].same_bits]
    groups: dict[str, list[str]] = {}
    for row in runs:
        places = groups.setdefault(row.params_sha256, [])
        if place(row) not in places:
            places.append(place(row))
    if len(groups) > 1:
        parts = [f"{name[:12]}: {', '.join(where)}" for name, where in groups.items()]
        models = sorted({row.cpu_model for row in runs})
        several = f" on several kinds of processor ({', '.join(models)})" if models[1:] else ""
        return Outcome(FAILED, f"they differ{several}, params_sha256 {'; '.join(parts)}")
    sizes = sorted({row.ranks for row in runs})
    if len(sizes) < 2:
        seen = f"only runs of {counted(sizes[0], 'rank')}" if sizes else "no run"
        return Outcome(LEFT_OUT, f"nothing to compare: {seen} with reproducible ended well")
    name, where = next(iter(groups.items()))
    line = f"equal to the last bit: {counted(len(runs), 'run')}, {', '.join(where)}"
    return Outcome(OK, f"{line}; params_sha256 {name[:12]}...")


def place(one: Row | Summary) -> str:
    """Return the numbers of ranks and nodes of a run or a point as a phrase."""
    return f"{counted(one.ranks, 'rank')} on {counted(one.nodes, 'node')}"


def allreduce_table(sums: Sequence[dict[str, Any]]) -> str:
    """Return a table of sums, with a line for each size and a column for each number of ranks."""
    head = ("bytes", *(f"{one['ranks']} ranks, {counted(one['nodes'], 'node')}" for one in sums))
    columns = [dict(one["sums"]) for one in sums]
    lines = [(str(size), *(_sum(size, column[size]) for column in columns)) for size in columns[0]]
    note = "sum of float32 numbers in place; median time, and bytes over time"
    return f"{aligned(head, lines)}\n{note}"


def _sum(size: int, seconds: float) -> str:
    rate = f" ({size / seconds / 1e9:.2g} GB/s)" if size >= SMALL else ""
    return f"{duration(seconds)}{rate}"


def scaling_table(summaries: Sequence[Summary]) -> str:
    """Return a table of the study, with a line for each point."""
    head = ("reduction", "ranks", "nodes", "time/epoch", "speedup", "efficiency", "remarks")
    lines = [
        (
            p.reduction, str(p.ranks), str(p.nodes or "-"), time(p.median), figure(p.speedup),
            figure(p.efficiency), remarks(p),
        )
        for p in sorted(summaries, key=lambda p: (p.reduction, p.ranks))
    ]  # fmt: skip
    return aligned(head, lines)


def odd_points(summaries: Sequence[Summary], allocation: Allocation) -> list[str]:
    """Return a line for everything that looks wrong about the scaling."""
    lines = []
    good = [p for p in summaries if p.repeats]
    crowded = sorted({p.ranks for p in good if p.oversubscribed})
    if crowded:
        sizes = ", ".join(map(str, crowded))
        lines.append(f"{sizes} ranks have fewer cores than threads: their times are meaningless")
    for p in good:
        meant, where = allocation.nodes_of(p.ranks), f"{p.reduction}, {place(p)}"
        if p.nodes != meant:
            lines.append(f"{where}: it was meant for {counted(meant, 'node')}")
        if not p.oversubscribed and p.efficiency < POOR:
            cause = CAUSES[min(CAUSES, key=lambda name: float(getattr(p, name)))]
            lines.append(f"{where}: efficiency {figure(p.efficiency, 2)}; {cause}")
    machines = sorted({p.machine for p in good})
    if len(machines) > 1:
        lines.append(f"runs were made on several kinds of processor: {'; '.join(machines)}")
    return lines
