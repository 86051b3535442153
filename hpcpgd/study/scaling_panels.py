"""Time per epoch, speedup and efficiency over ranks x threads, side by side."""

from __future__ import annotations

import textwrap
from itertools import cycle
from typing import Any

import numpy as np

from hpcpgd.study.style import COLOURS, MARKERS, entitle, logarithmic, new_figure
from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import SCALED

PANELS = {"median": "time per epoch (s)", "speedup": "speedup", "efficiency": "efficiency"}
# Shifts of series, as factors, so that error bars do not overlap: of neighbours, of all.
SHIFT, MOST_SHIFT = 1.05, 1.25
APART = 1.2  # smallest factor between two ticks: their labels must not overlap
LEGEND_LETTERS = 26
BELOW_HALF = 0.48  # where some speedup is below 1, its axis shows the tick at 0.5
GREY = "#888888"


def make(
    groups: dict[str, list[Summary]], kind: str, title: str, size: tuple[float, float] | None
) -> Any:
    """Return the figure of the series in ``groups``; a weak study claims no speedup."""
    names = [name for name in PANELS if name != "speedup" or kind != "weak"]
    height = max(4.2, 0.3 * len(groups))  # for a legend with two lines for each series
    figure = new_figure(*(size or (3.1 * len(names) + 2.4, height)))
    panels = dict(zip(names, figure.subplots(1, len(names)), strict=True))
    shift = min(SHIFT, MOST_SHIFT ** (1 / max(len(groups) - 1, 1)))
    looks = zip(groups.items(), cycle(COLOURS), cycle(MARKERS), strict=False)
    for number, ((label, group), colour, marker) in enumerate(looks):
        look = {"color": colour, "marker": marker, "markersize": 5, "label": label}
        for name, axes in panels.items():
            _curve(axes, group, name, look, shift ** (number - (len(groups) - 1) / 2))
        _ideal(panels, group, kind, colour)
    panels["efficiency"].axhline(1, ls="--", color=GREY, label="ideal")
    points = [p for group in groups.values() for p in group]
    for name, axes in panels.items():
        _scales(axes, name, kind, points)
    _legend(figure, panels)
    entitle(figure, title)
    return figure


def _curve(axes: Any, group: list[Summary], name: str, look: dict[str, Any], shift: float) -> None:
    """Draw a series; with more threads than cores points are hollow and not joined.

    Points that others disturbed have a cross.
    """
    known = [p for p in group if not np.isnan(getattr(p, name))]
    for crowded, style in ((False, {}), (True, {"ls": "none", "markerfacecolor": "none"})):
        part = [p for p in known if p.oversubscribed == crowded]
        if not part:
            continue
        places, heights = (np.array([getattr(p, n) for p in part]) for n in ("workers", name))
        axes.plot(places * shift, heights, **look, **style)
        # The ends of an efficiency follow from those of its speedup.  NaN draws no bar.
        ends = ("median", "ci_low", "ci_high")
        if name != "median":
            ends = ("speedup", "speedup_low", "speedup_high")
        middle, low, high = np.array([[getattr(p, n) for p in part] for n in ends])
        errors = np.array([middle - low, high - middle]) / middle * heights
        bars = {"fmt": "none", "ecolor": look["color"], "capsize": 2, "lw": 0.8}
        axes.errorbar(places * shift, heights, errors, **bars)
    for p in known:
        spot = (p.workers * shift, getattr(p, name))
        if p.others_used > 0:
            axes.plot(*spot, "x", color="black", markersize=8)
        if p.scaled:
            axes.annotate(SCALED, spot, xytext=(4, 2), textcoords="offset points")


def _ideal(panels: dict[str, Any], group: list[Summary], kind: str, colour: str) -> None:
    """Draw the ideal scaling of a series from its base on."""
    last = next((p for p in reversed(group) if not np.isnan(p.speedup)), None)
    if last is None:
        return
    growth = last.speedup / last.efficiency  # of the workers since the base
    workers, time = (last.workers / growth, last.workers), last.efficiency * last.median
    start = time if kind == "weak" else time * growth
    panels["median"].plot(workers, [start, time], "--", color=colour, lw=0.8, alpha=0.7)
    if "speedup" in panels:
        panels["speedup"].plot(workers, [1, growth], "--", color=GREY)


def _scales(axes: Any, name: str, kind: str, points: list[Summary]) -> None:
    workers = sorted({p.workers for p in points})
    ticks = [workers[-1]]
    for number in reversed(workers):
        if number * APART < ticks[-1]:
            ticks.append(number)
    axes.set(xscale="log", xlim=(workers[0] / 1.25, workers[-1] * 1.25), ylabel=PANELS[name])
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.xaxis.minorticks_off()
    threads, ranks = {p.threads for p in points}, {p.ranks for p in points}
    axes.set_xlabel("ranks" if threads == {1} else "threads" if ranks == {1} else "ranks x threads")
    if name == "efficiency":
        axes.set_ylim(0, max(1.1, axes.get_ylim()[1]))
    elif kind == "weak":
        axes.set_ylim(0, None)
    else:
        slow = name == "speedup" and any(p.speedup < 1 for p in points)
        if slow:
            axes.set_yscale("log")  # first: a linear axis may begin below 0
            axes.set_ylim(min(axes.get_ylim()[0], BELOW_HALF))
        logarithmic(axes, slow)


def _legend(figure: Any, panels: dict[str, Any]) -> None:
    """Put the legend beside the panels: each series once, the ideal last."""
    handles: dict[str, Any] = {}
    for axes in panels.values():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    handles["ideal"] = handles.pop("ideal")
    handles.pop("", None)  # of the only series, which needs no name
    labels = [textwrap.fill(label, LEGEND_LETTERS) for label in handles]
    look = {"loc": "outside right center", "fontsize": 8, "alignment": "left"}
    figure.legend(list(handles.values()), labels, **look)
