"""Two figures that the paper does not have: time over training rows, and rate over widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcpgd.config.run_config import NETWORKS
from hpcpgd.study.figure_words import counted
from hpcpgd.study.paper.bar_charts import RATE, SECONDS, Legend, look
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.paper_rows import AXIS_BATCH
from hpcpgd.study.paper.paper_table import PaperRow
from hpcpgd.study.style import MARKERS, figure_style, logarithmic, new_figure, save
from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import SCALED, scaled_note

Lines = dict[PaperRow, dict[int, Summary]]  # points by their place on the horizontal axis


@figure_style()
def draw(results: Results, legend: Legend, folder: Path, caption: str) -> list[Path]:
    """Draw time over training rows and rate over widths; return the files."""
    rows, widths = (
        {n: {row: over(row.name, n) for row in legend.rows} for n in NETWORKS}
        for over in (results.over_rows, results.over_widths)
    )
    layers = (counted(len(hidden), "hidden layer") for hidden in NETWORKS.values())
    titles = [f"{text}, {results.rows} training rows" for text in layers]
    first = _figure(rows, "median", legend, list(NETWORKS), ("training rows", SECONDS))
    second = _figure(widths, "gflops", legend, titles, ("width of each hidden layer", RATE))
    paths = []
    for name, figure, panels in (("rows", first, rows), ("widths", second, widths)):
        points = [p for lines in panels.values() for by in lines.values() for p in by.values()]
        note = "; ".join(filter(None, (f"batch {AXIS_BATCH}", scaled_note(points))))
        paths += save(figure, folder, f"figure-{name}", f"{note}\n{caption}")
    return paths


def _figure(
    panels: dict[str, Lines], value: str, legend: Legend, titles: list[str], labels: tuple[str, str]
) -> Any:
    """Return a figure with a panel for each network and a line for each row of the table."""
    figure = new_figure(9.5, 5)
    all_axes = figure.subplots(1, len(panels), sharey=True)
    for axes, title, lines in zip(all_axes, titles, panels.values(), strict=True):
        for number, (row, points) in enumerate(lines.items()):
            heights = [getattr(p, value) for p in points.values()]
            axes.plot(
                list(points), heights, ":" if row.on_gpu else "--" if row.parallel else "-",
                color=look(row)["color"], marker=MARKERS[number % len(MARKERS)], markersize=4,
                label=legend.name(row) if axes is all_axes[0] else None,
            )  # fmt: skip
            for x, height, p in zip(points, heights, points.values(), strict=True):
                if p.scaled:
                    axes.annotate(SCALED, (x, height), xytext=(3, 1), textcoords="offset points")
        ticks = sorted({x for points in lines.values() for x in points})
        axes.set(xlabel=labels[0], title=title)
        if ticks:  # without a point there is no logarithm
            axes.set_xscale("log")
            logarithmic(axes)
        axes.set_xticks(ticks, list(map(str, ticks)))
        axes.xaxis.minorticks_off()
    all_axes[0].set_ylabel(labels[1])
    figure.legend(loc="outside upper center", ncols=4, fontsize=7)
    return figure
