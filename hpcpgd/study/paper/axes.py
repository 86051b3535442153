"""Two figures that the paper does not have: over training rows, and over widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpcpgd.config.run_config import NETWORKS
from hpcpgd.study.paper.bar_charts import RATE, SECONDS, Legend, look
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.paper_rows import AXIS_BATCH, AXIS_WIDTHS
from hpcpgd.study.paper.paper_table import PaperRow
from hpcpgd.study.style import MARKERS, logarithmic, new_figure, our_look, save
from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import SCALED, scaled_note

Points = dict[int, Summary]


def over_widths(results: Results, row: PaperRow, depth: int) -> Points:
    """Return the points of all widths of so many hidden layers."""
    found = {w: results.at(row.name, (w,) * depth, AXIS_BATCH) for w in AXIS_WIDTHS}
    return {width: p for width, p in found.items() if p is not None}


@our_look()
def draw(results: Results, legend: Legend, folder: Path, caption: str) -> list[Path]:
    """Draw time over training rows and rate over widths; return the files."""
    depths = {name: len(hidden) for name, hidden in NETWORKS.items()}
    rows = {n: {r.name: results.over_rows(r.name, n) for r in legend.rows} for n in depths}
    widths = {
        n: {r.name: over_widths(results, r, depth) for r in legend.rows}
        for n, depth in depths.items()
    }
    first = _figure(rows, "median", ("training rows", SECONDS), legend, folder, "rows", caption)
    second = _figure(
        widths,
        "gflops",
        ("width of each hidden layer", RATE),
        legend,
        folder,
        "widths",
        caption,
        f"{results.rows} training rows",
    )
    return [*first, *second]


def _figure(
    found: dict[str, dict[str, Points]],
    value: str,
    labels: tuple[str, str],
    legend: Legend,
    folder: Path,
    name: str,
    caption: str,
    counted: str = "",
) -> list[Path]:
    figure = new_figure(9.5, 5)
    panels = figure.subplots(1, len(found), sharey=True)
    for axes, (network, by_row) in zip(panels, found.items(), strict=True):
        for number, row in enumerate(legend.rows):
            label = legend.name(row) if axes is panels[0] else None
            _line(axes, by_row[row.name], value, row, MARKERS[number % len(MARKERS)], label)
        ticks = sorted({x for points in by_row.values() for x in points})
        depth = len(NETWORKS[network])
        layers = f"{depth} hidden layer{'s' if depth > 1 else ''}"
        title = network if name == "rows" else f"{layers}, {counted}"
        axes.set(xlabel=labels[0], title=title)
        if ticks:  # without a point there is no logarithm
            axes.set_xscale("log")
            logarithmic(axes)
        axes.set_xticks(ticks, list(map(str, ticks)))
        axes.xaxis.minorticks_off()
    panels[0].set_ylabel(labels[1])
    figure.legend(loc="outside upper center", ncols=4, fontsize=7)
    points = [p for by_row in found.values() for own in by_row.values() for p in own.values()]
    note = "; ".join(text for text in (f"batch {AXIS_BATCH}", scaled_note(points)) if text)
    return save(figure, folder, f"figure-{name}", f"{note}\n{caption}")


def _line(
    axes: Any, points: Points, value: str, row: PaperRow, marker: str, label: str | None
) -> None:
    style = ":" if row.on_gpu else "--" if row.parallel else "-"
    heights = [getattr(p, value) for p in points.values()]
    axes.plot(
        list(points),
        heights,
        style,
        color=look(row)["color"],
        marker=marker,
        markersize=4,
        label=label,
    )
    for x, height, p in zip(points, heights, points.values(), strict=True):
        if p.scaled:
            axes.annotate(SCALED, (x, height), xytext=(3, 1), textcoords="offset points")
