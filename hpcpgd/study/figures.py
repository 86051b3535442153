"""The figures of a report: speedup beside efficiency, and where the time went."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.results.atomic import make_folder
from hpcpgd.study.rows import PHASE_COLUMNS
from hpcpgd.study.style import COLOURS, HATCHES, MARKERS, logarithmic, new_figure, our_look, save
from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import SCALED, scaled_note, varying

PHASE_ORDER = ("compute", "update", "data", "reduce", "wait")
Series = dict[str, list[Summary]]


def series(points: list[Summary], kind: str) -> Series:
    """Return points that differ in ranks and threads alone, by the name of their series.

    In a weak study rows and batch grow with the ranks: its setting names their shares.
    """
    alike = ["network", "batch_size", "backend"]
    more = ["asked_reduction", "dtype", "precision", "dataset", "setting"]
    if kind == "weak":
        alike.remove("batch_size")
    else:
        more.append("rows")
    names = [*alike, *varying(points, more)]
    found: Series = defaultdict(list)
    for p in points:
        found[", ".join(_word(p, name) for name in names)].append(p)
    return {name: sorted(group, key=lambda p: p.workers) for name, group in found.items()}


def _word(point: Summary, name: str) -> str:
    words = {"batch_size": f"batch {point.batch_size}", "rows": f"{point.rows} rows"}
    return words.get(name, str(getattr(point, name)))


@our_look()
def draw(points: list[Summary], kind: str, folder: Path, date: str) -> list[Path]:
    """Draw what a study of ``kind`` has to show; return the files.

    Machines never share a figure.
    """
    make_folder(folder, folder)
    paths = []
    machines = list(dict.fromkeys(p.machine for p in points))
    for number, machine in enumerate(machines):
        own = [p for p in points if p.machine == machine and p.repeats]
        suffix = f"-{number + 1}" if len(machines) > 1 else ""
        caption = f"{machine}, {date}"
        groups = series(own, kind)
        if any(not np.isnan(p.speedup) for p in own):
            paths += _scaling(groups, kind, folder, f"scaling{suffix}", caption)
        paths += _phases(own, folder, f"phases{suffix}", caption)
    return paths


def _scaling(groups: Series, kind: str, folder: Path, name: str, caption: str) -> list[Path]:
    figure = new_figure(9, 4.2)
    left, right = figure.subplots(1, 2)
    most = max(p.workers for group in groups.values() for p in group)
    for number, (label, group) in enumerate(groups.items()):
        if all(np.isnan(p.speedup) for p in group):
            continue
        look = {"color": COLOURS[number % 7], "marker": MARKERS[number % 7]}
        _line(left, group, "speedup", look, label)
        _line(right, group, "efficiency", look, None)
    left.plot([1, most], [1, most], "--", color="#888888", label="ideal")
    right.axhline(1, ls="--", color="#888888")
    left.set(xscale="log", xlabel="ranks x threads", ylabel="speedup, logarithmic")
    logarithmic(left)
    right.set(xlabel="ranks x threads", ylabel="efficiency", ylim=(0, None))
    ticks = sorted({p.workers for group in groups.values() for p in group})
    for axes in (left, right):
        axes.set_xticks(ticks, list(map(str, ticks)))
        axes.xaxis.minorticks_off()
    left.legend(fontsize=7)
    bases = sorted({p.base for group in groups.values() for p in group if p.base})
    weak = "weak scaling: rows and batch grow with the ranks, and so the trajectory changes; "
    figure.suptitle("Speedup and efficiency", fontsize=11)
    note = (
        f"{weak if kind == 'weak' else ''}base: {'; '.join(bases)}; bars: 95 % of the time per "
        "epoch; hollow: more threads than cores"
    )
    scaled = scaled_note([p for group in groups.values() for p in group])
    return save(figure, folder, name, _lines(caption, note, scaled))


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)


def _line(axes: Any, group: list[Summary], name: str, look: dict[str, Any], label: Any) -> None:
    """Join what scales; points with more threads than cores stand apart, hollow."""
    honest = [p for p in group if not p.oversubscribed]
    axes.plot([p.workers for p in honest], [getattr(p, name) for p in honest], label=label, **look)
    known = [p for p in honest if not np.isnan(p.ci_low)]
    if known:
        heights = np.array([getattr(p, name) for p in known])
        low, high = (heights * [p.median / getattr(p, ci) for p in known]
                     for ci in ("ci_high", "ci_low"))  # fmt: skip
        axes.errorbar(
            [p.workers for p in known],
            heights,
            yerr=[heights - low, high - heights],
            fmt="none",
            ecolor=look["color"],
            capsize=2,
            lw=0.8,
        )
    rest = [p for p in group if p.oversubscribed]
    axes.plot(
        [p.workers for p in rest],
        [getattr(p, name) for p in rest],
        ls="none",
        markerfacecolor="none",
        label=None if honest else label,
        **look,
    )
    for p in group:
        if p.scaled:
            place = (p.workers, getattr(p, name))
            axes.annotate(SCALED, place, xytext=(4, 2), textcoords="offset points")


def _phases(points: list[Summary], folder: Path, name: str, caption: str) -> list[Path]:
    """Draw stacked bars, one a point, one panel a backend: their times differ too much."""
    known = [p for p in points if not np.isnan(p.compute_s)]
    backends = list(dict.fromkeys(p.backend for p in known))
    if not backends:
        return []
    counts = [sum(p.backend == backend for p in known) for backend in backends]
    figure = new_figure(max(0.55 * len(known) + 1.2 * len(backends) + 1, 6.5), 4.4)
    panels = figure.subplots(1, len(backends), width_ratios=counts, squeeze=False)
    for axes, backend in zip(panels[0], backends, strict=True):
        _bars(axes, [p for p in known if p.backend == backend])
        axes.set_title(backend, fontsize=9)
    panels[0][0].set_ylabel("time of an epoch, mean over ranks / s")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=5, fontsize=7)
    figure.suptitle("Where the time went", fontsize=11, x=0.02, ha="left")
    note = "last line of a label: ranks x threads"
    return save(figure, folder, name, _lines(caption, note, scaled_note(known)))


def _bars(axes: Any, points: list[Summary]) -> None:
    bottom, places = np.zeros(len(points)), np.arange(len(points))
    for number, phase in enumerate(PHASE_ORDER):
        heights = np.array([getattr(p, PHASE_COLUMNS[phase]) for p in points])
        axes.bar(
            places,
            heights,
            bottom=bottom,
            color=COLOURS[number],
            hatch=HATCHES[number],
            edgecolor="white",
            linewidth=0.5,
            label=phase,
        )
        bottom += heights
    more = varying(points, ("reduction", "dtype", "precision"))
    axes.set_xticks(places, [_bar_label(p, more) for p in points], fontsize=6)
    axes.set_ylim(0, None)
    axes.grid(visible=False, axis="x")


def _bar_label(point: Summary, more: list[str]) -> str:
    """Return what tells a bar from the others of its panel, a line each."""
    workers = f"{point.ranks}x{point.threads}{SCALED if point.scaled else ''}"
    words = (getattr(point, name) for name in more)
    return "\n".join((point.network, f"b {point.batch_size}", *words, workers))
