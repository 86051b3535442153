"""Where the time went: stacked bars of phases, grouped by case."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from hpcpgd.cli.launcher import say
from hpcpgd.study.figure_words import PHASES
from hpcpgd.study.style import COLOURS, HATCHES, TITLE_LETTERS, entitle, new_figure

# The seconds of each phase, in the order of PHASES, by case and by bar.
Bars = dict[str, dict[str, list[float]]]
# Inches: height of a bar or a line of text and height around the bars, without a size and with one.
BY_CONTENT, SMALLEST = (0.23, 2.6), (0.16, 1.9)
LABELS = 2.5  # inches beside the bars


def make(panels: list[Bars], title: str, size: tuple[float, float] | None) -> Any:
    """Return the figure, a panel with an axis of its own for each of ``panels``."""
    width, height = size or (8.0, 0.0)
    letters = max(int(TITLE_LETTERS * (width - LABELS)), TITLE_LETTERS)
    wrapped = [{textwrap.fill(case, letters): bars for case, bars in p.items()} for p in panels]
    rows = [sum(_lines(case) + len(bars) for case, bars in p.items()) for p in wrapped]
    row, margin = SMALLEST if size else BY_CONTENT
    needed = margin + row * sum(rows) + 0.5 * len(panels)
    if size and needed > height:  # names must not overlap
        say(f"phases is {needed:.1f} inches high: its bars have no room in the height of --size")
    figure = new_figure(width, max(needed, height))
    all_axes = figure.subplots(len(panels), 1, height_ratios=rows, squeeze=False)[:, 0]
    for axes, cases in zip(all_axes, wrapped, strict=True):
        panel(axes, cases)
    all_axes[-1].set_xlabel("time per epoch (ms)")
    figure.legend(all_axes[0].containers, list(PHASES), loc="outside right center", fontsize=8)
    entitle(figure, title)
    return figure


def _lines(case: str) -> int:
    return len(case.splitlines())


def panel(axes: Any, cases: Bars) -> None:
    """Draw the bars from top to bottom, those of a case below its name."""
    names: dict[int, str] = {}
    row = 0
    for case, bars in cases.items():
        row += _lines(case)
        axes.text(0.005, row - 0.6, case, va="bottom", transform=axes.get_yaxis_transform())
        names |= dict(enumerate(bars, row))
        row += len(bars)
    values = 1000 * np.array([bar for bars in cases.values() for bar in bars.values()])
    left = np.zeros(len(values))
    for lengths, colour, hatch in zip(values.T, COLOURS, HATCHES, strict=False):
        look = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.5}
        axes.barh(list(names), lengths, 0.8, left, **look)
        left += lengths
    axes.set_yticks(list(names), list(names.values()))
    axes.set(xlim=(0, None), ylim=(row - 0.3, -0.7))
    axes.grid(visible=False, axis="y")
