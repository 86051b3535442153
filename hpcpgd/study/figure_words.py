"""Titles and captions of figures, in sentences for readers who do not know the manual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import interval_name, scaled_note

NAMES = {"net-1h": "Net-1h", "net-2h": "Net-2h", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
KINDS = {"strong": "Strong scaling of", "weak": "Weak scaling of", "sweep": "Sweep:"}
PHASES = {
    "compute": "forward and backward pass",
    "update": "new weights",
    "data": "gathering the rows of a minibatch",
    "reduce": "summing the gradients over the ranks",
    "wait": "until other ranks or threads are ready",
}


def counted(number: int, what: str) -> str:
    """Return a number and its noun."""
    return f"{number} {what}{'s' * (number != 1)}"


def workers(ranks: int, threads: int) -> str:
    """Return the size of a run."""
    return counted(ranks, "rank") + f" x {counted(threads, 'thread')}" * (threads != 1)


def network(name: str) -> str:
    """Return a network's name, or its hidden widths and what they are."""
    return NAMES.get(name, f"a network of hidden width{'s' * ('-' in name)} {name}")


def dataset(name: str) -> str:
    """Return the usual name of a dataset."""
    return "synthetic data" if name.startswith("synthetic:") else NAMES.get(name, name)


def place(machine: str, cores: int, nodes: int) -> str:
    """Return the machine of a run, with its cores if they are known."""
    known = f", {counted(cores, 'logical core')}" * (cores > 0)
    return machine + known + f" on {nodes} nodes" * (nodes > 1)


def place_of(points: Sequence[Summary]) -> str:
    """Return where the points of one machine were measured."""
    cores, nodes = (max(getattr(p, name) for p in points) for name in ("logical_cores", "nodes"))
    return place(points[0].machine, cores, nodes)


def title(points: Sequence[Summary], kind: str) -> str:
    """Return a title: the kind of study, the network, the dataset and the machine."""
    networks = sorted({network(p.network) for p in points})
    datasets = sorted({dataset(p.dataset) for p in points})
    what = f"{len(networks)} networks" if networks[1:] else networks[0]
    data = f"{len(datasets)} datasets" if datasets[1:] else datasets[0]
    return f"{KINDS[kind]} {what} on {data}, {place_of(points)}"


def _measured(points: Sequence[Summary], what: str) -> str:
    rows, repeats = (sorted({getattr(p, name) for p in points}) for name in ("rows", "repeats"))
    over = "all" if rows[1:] else f"the {rows[0]}"
    several = f"{repeats[0]} to {repeats[-1]}" if repeats[1:] else f"{repeats[0]}"
    median = "one run" if repeats == [1] else f"the median of {several} runs"
    return f"An epoch is one pass over {over} training rows. Each {what} is {median}."


def scaling_caption(
    groups: dict[str, list[Summary]], varied: Sequence[str], kind: str
) -> list[str]:
    """Return what the panels show of the series in ``groups``, which differ in ``varied``."""
    points = [p for group in groups.values() for p in group]
    measured = _measured(points, "point")
    if any(not np.isnan(p.ci_low) for p in points):
        measured += (
            f" Bars: {interval_name(points)}. Bars of ratios to a base hold its spread, too; "
            "the base itself, which is 1, has none."
        )
    base = _base(groups, varied, kind)
    meaning = (
        f"Speedup over {base}: its time divided by the time here. Efficiency: speedup divided by "
        "(workers / workers of the base); workers are ranks x threads. Dashed: ideal."
    )
    if kind == "weak":
        meaning = (
            "Every rank has the same work: rows and minibatch grow with the ranks, and so the "
            f"learning differs. Efficiency: time of {base} divided by the time here. Dashed: ideal."
        )
    hollow = "Hollow: more threads than there are cores, where nothing can scale."
    return [measured, meaning, hollow * any(p.oversubscribed for p in points), scaled_note(points)]


def _base(groups: dict[str, list[Summary]], varied: Sequence[str], kind: str) -> str:
    """Return the base of the series, in few words where each series has its own."""
    known = [[p for p in group if p.base] for group in groups.values()]
    own = all(any(p.speedup == p.efficiency == 1 for p in group) for group in known if group)
    bases = dict.fromkeys(p.base for group in known for p in group)
    if kind == "sweep" or (varied and not own):
        return " or ".join(bases)
    same = f" of the same {' and '.join(varied)}" if varied else ""
    return " or ".join(dict.fromkeys(map(_size, bases))) + same


def _size(base: str) -> str:
    ranks, threads = base.rsplit(" ", 1)[-1].split("x")
    return workers(int(ranks), int(threads))


def phases_caption(points: Sequence[Summary]) -> list[str]:
    """Return what the bars of a figure of phases show."""
    measured = f"{_measured(points, 'bar')} Times are means over the ranks, and medians need not "
    measured += "add up to the time per epoch."
    return [measured, phases(any(p.update_s == 0 for p in points)), scaled_note(points)]


def phases(merged: bool) -> str:
    """Return what the phases mean; ``merged`` where some run had no update of its own."""
    texts = "; ".join(f"{name}: {meaning}" for name, meaning in PHASES.items())
    update = " Where there is no update, compute holds it." * merged
    return f"{texts}.{update} Python and calls between them have no bar."


def missing(points: Sequence[Summary]) -> str:
    """Return how much of a study is missing, "" where nothing is."""
    parts = (
        (sum(not p.repeats for p in points), "point", len(points)),
        (sum(p.wanted - p.repeats for p in points), "run", sum(p.wanted for p in points)),
    )
    known = [f"{number} of {counted(whole, what)}" for number, what, whole in parts if number]
    return f"Missing, because they failed or have not ended: {', '.join(known)}." if known else ""
