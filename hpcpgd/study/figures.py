"""The figures of a study: how it scales, and where the time went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.results.atomic import make_folder
from hpcpgd.study import figure_words as words
from hpcpgd.study import phase_bars, scaling_panels
from hpcpgd.study.figure_form import BY_CONTENT, FigureForm
from hpcpgd.study.rows import PHASE_COLUMNS
from hpcpgd.study.style import figure_style, save
from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import SCALED, others_note, varied

Series = dict[str, list[Summary]]
Facts = dict[str, str]  # what can distinguish a series, in the words of the legend
NEED_HEADING = {"backend", "reduction", "dtype"}  # whose values do not say what they are
IN_TITLE = ("network", "dataset", "rows")  # the rows stand in the caption


def series(points: Sequence[Summary], kind: str) -> Series:
    """Return the points by the name of their series, in which only ranks and threads differ.

    The name says what not all points have in common.  If points of one series have the same
    number of workers, as ranks and as threads, each number of threads becomes a series.
    """
    facts = _facts(points, kind)
    groups = _grouped(points, facts)
    if any(len({p.workers for p in group}) < len(group) for group in groups.values()):
        for point, its in zip(points, facts, strict=True):
            its["threads"] = f"{words.counted(point.threads, 'thread')} a rank"
        groups = _grouped(points, facts)
    return groups


def _facts(points: Sequence[Summary], kind: str) -> list[Facts]:
    facts = [_facts_of(p, kind) for p in points]
    if all(p.precision == p.dtype for p in points):
        for its in facts:
            del its["precision"]
    return facts


def _facts_of(point: Summary, kind: str) -> Facts:
    facts = {
        "network": words.network(point.network),
        "batch": f"batch {point.batch_size}",
        "backend": point.backend,
        "reduction": point.asked_reduction,
        "dtype": point.dtype,
        "precision": f"products in {point.precision}",
        "dataset": words.dataset(point.dataset),
        "rows": f"{point.rows} rows",
    }
    if point.asked_reduction == "auto":
        facts["reduction"] = "reduction auto"
    if kind == "weak":  # both grow with the ranks: the setting names their shares
        del facts["batch"], facts["rows"]
    options = point.options.items()
    return facts | {key: f"{key.replace('_', ' ')} {value}" for key, value in options}


def _grouped(points: Sequence[Summary], facts: Sequence[Facts]) -> Series:
    names = varied(facts)
    groups: Series = defaultdict(list)
    for point, its in zip(points, facts, strict=True):
        groups[", ".join(its[name] for name in names if name in its)].append(point)
    return {name: sorted(group, key=lambda p: p.workers) for name, group in groups.items()}


def _common(points: Sequence[Summary], kind: str) -> str:
    """Return what all points have in common, except for what the first line of the title says."""
    facts = _facts(points, kind)
    unlike = (*IN_TITLE, *varied(facts))
    return ", ".join(text for name, text in facts[0].items() if name not in unlike)


@figure_style()
def draw(
    points: list[Summary], kind: str, folder: Path, date: str, form: FigureForm = BY_CONTENT
) -> list[Path]:
    """Draw the figures of a study of ``kind``; return the files.

    Each machine has its own figures.  Points without a run are counted in the caption.
    """
    make_folder(folder, folder)
    paths = []
    machines = list(dict.fromkeys(p.machine for p in points))
    for number, machine in enumerate(machines, 1):
        asked = [p for p in points if p.machine == machine]
        ended = [p for p in asked if p.repeats]
        suffix = f"-{number}" if len(machines) > 1 else ""
        place = f"{words.place_of(asked)}; " if form.title else ""  # it stands in our own titles
        last = [others_note(ended), words.missing(asked), place + date]
        for name, figure, caption in _figures(ended, kind, form) if ended else ():
            text = "\n".join(filter(None, [*caption, *last]))
            paths += save(figure, folder, name + suffix, text, form.formats)
    return paths


def _figures(
    points: list[Summary], kind: str, form: FigureForm
) -> Iterator[tuple[str, Any, list[str]]]:
    """Yield name, figure and caption of each figure of a machine."""
    groups, head = series(points, kind), f"{words.title(points, kind)}\n{_common(points, kind)}"
    if any(not np.isnan(p.speedup) for p in points):
        unlike = varied(_facts(points, kind))
        names = [name.replace("_", " ") for name in unlike]
        figure = scaling_panels.make(groups, kind, form.title or head, form.size)
        if NEED_HEADING & {*names}:
            figure.legends[0].set_title(", ".join(names), {"size": 8})
        yield "scaling", figure, words.scaling_caption(groups, names, kind)
    panels = _panels(groups)
    if panels:
        title = form.title or f"Where the time went\n{head}"
        yield "phases", phase_bars.make(panels, title, form.size), words.phases_caption(points)


def _panels(groups: Series) -> list[phase_bars.Bars]:
    """Return the bars of each backend: their times differ too much for one axis."""
    panels: dict[str, phase_bars.Bars] = defaultdict(lambda: defaultdict(dict))
    for name, group in groups.items():
        for p in group:
            if not np.isnan(p.compute_s):
                size = words.workers(p.ranks, p.threads) + SCALED * p.scaled
                seconds = [getattr(p, PHASE_COLUMNS[phase]) for phase in words.PHASES]
                panels[p.backend][name][size] = seconds
    return list(panels.values())
