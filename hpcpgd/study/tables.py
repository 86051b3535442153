"""The tables of a report, for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpcpgd.cli.quantities import duration
from hpcpgd.study.rows import Row
from hpcpgd.study.summary import MANY, Summary

LARGE_FACTOR = 1.1  # more work in as much time than the base: caches, or a base that was slowed
SCALED = "*"  # marks a point whose time was scaled to an epoch


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns are as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [[cell.rjust(w) for cell, w in zip(row, widths, strict=True)] for row in (head, *rows)]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def figure(value: float, digits: int = 3) -> str:
    """Return a number with some digits, ``-`` where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}g}"


def about(seconds: float) -> str:
    """Return an estimate: ``about 3 s``, ``about 5 min``, ``about 12 h``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {seconds:.0f} s"


def time(value: float) -> str:
    """Return a duration, ``-`` where there is none."""
    return "-" if math.isnan(value) else duration(value)


def remarks(point: Summary) -> str:
    """Return the remarks on the figures of a point."""
    said = []
    if point.oversubscribed:
        said.append("more threads than cores: no scaling")
    if point.others_used > 0:
        said.append(f"others used {point.others_used:.1f} cores")
    if point.scaled:
        said.append(f"{point.steps} steps timed, scaled to an epoch")
    if point.cold:
        said.append("nothing left out to warm up")
    if point.superlinear and not point.oversubscribed:
        said.append("superlinear")
    if not point.repeats:
        said.append(f"missing: none of {point.wanted} runs has ended well")
    elif point.repeats < point.wanted:
        bad = f"{point.wanted - point.repeats} of {point.wanted} runs"
        said.append(f"{bad} are missing or did not end well")
    return "; ".join(said)


def scaled_note(points: Sequence[Summary]) -> str:
    """Return the note on points that are marked as scaled, "" without any."""
    steps = [p.steps for p in points if p.scaled]
    if not steps:
        return ""
    span = f"{min(steps)}" if min(steps) == max(steps) else f"{min(steps)} to {max(steps)}"
    return f"{SCALED} {span} steps timed, scaled to an epoch"


def others_note(points: Sequence[Summary]) -> str:
    """Return the notes on points that others disturbed and on runs that cannot tell, or ""."""
    used = [p.others_used for p in points if p.others_used > 0]
    said = []
    if used:
        said.append(
            f"Other processes used up to {max(used):.1f} cores (points concerned: {len(used)} of "
            f"{len(points)}, a cross in figures of scaling): times may be too long, and speedups "
            "and efficiencies wrong. hpcpgd study run --retry-disturbed makes these runs again."
        )
    if blind := sum(p.unchecked for p in points):
        said.append(
            f"{blind} of {sum(p.repeats for p in points)} runs were too short to see whether "
            "others used the cores (below 0.5 s, or the system does not count): take more epochs."
        )
    return "\n".join(said)


def _named(points: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    """Return the columns that name a point, and their values for each point."""
    others = ("machine", "dataset", "dtype", "precision")
    names = ["network", "batch_size", "rows", "backend", "reduction", "ranks", "threads"]
    names += [name for name in others if len({getattr(p, name) for p in points}) > 1]
    keys = varied([p.options for p in points])
    head = [name.removesuffix("_size") for name in names]
    cells = [{**vars(p), **p.options} for p in points]
    return head + keys, [[str(c.get(name, "-")) for name in names + keys] for c in cells]


def varied(facts: Sequence[dict[str, str]]) -> list[str]:
    """Return the names of what differs between the points, or is not known of all."""
    names = dict.fromkeys(name for f in facts for name in f)
    return [name for name in names if len({f.get(name) for f in facts}) > 1]


def interval_name(points: Sequence[Summary]) -> str:
    """Return what the interval of the times is."""
    if all(p.repeats < MANY for p in points):
        return "shortest to longest run"
    few = any(p.repeats < MANY for p in points)
    return "95 % interval of the median" + f", below {MANY} runs shortest to longest" * few


def summary_table(points: Sequence[Summary]) -> str:
    """Return one line a point: time per epoch with its interval, rate, speedup.

    The validation accuracy stands before them where it differs and labels have a meaning.
    """
    head, cells = _named(points)
    scores = [figure(100 * p.validation_accuracy, 4) for p in points]
    if len({*scores} - {"-"}) > 1 and not points[0].dataset.startswith("synthetic:"):
        head.append("validation accuracy (%)")
        cells = [[*line, score] for line, score in zip(cells, scores, strict=True)]
    head += ["time/epoch", interval_name(points), "GFLOP/s", "speedup", "efficiency", "against"]
    head.append("remarks")
    for p, line in zip(points, cells, strict=True):
        line += [
            time(p.median), f"{time(p.ci_low)} … {time(p.ci_high)}", figure(p.gflops),
            figure(p.speedup), figure(p.efficiency), p.base or "-", remarks(p),
        ]  # fmt: skip
    return aligned(head, cells)


def factors_table(points: Sequence[Summary]) -> str:
    """Return the factors of the parallel efficiency, one line a point."""
    head, cells = _named(points)
    head += ["load balance", "communication and calls", "computation"]
    head += ["product, over the base's", "remarks"]
    for p, line in zip(points, cells, strict=True):
        factors = (p.load_balance, p.communication, p.computation, p.product)
        disturbed = "base disturbed?" * (p.computation > LARGE_FACTOR and not p.other_kernels)
        line += [*map(figure, factors), disturbed]
    return aligned(head, cells)


def failures(rows: list[Row]) -> str:
    """Return one line a run that did not end well."""
    bad = [row for row in rows if row.status != "complete"]
    return "\n".join(
        f"{row.status}: {row.backend} {row.reduction} {row.network} batch {row.batch_size}, "
        f"{row.ranks} ranks, repeat {row.repeat}: {row.error}"
        for row in bad
    )
