"""The paper's six bar charts, its figures 5 to 10, from our numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.study.paper import BATCHES, ROWS, PaperRow, Results
from hpcpgd.study.style import COLOURS, HATCHES, pyplot, save

Values = Callable[[PaperRow], dict[int, float]]


def draw(results: Results, devices: bool, folder: Path, caption: str) -> list[Path]:
    """Draw figures 5 to 10; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    times, rates = "time per epoch / s", "rate / GFLOP/s"
    for number, network, what in (
        (5, "net-1h", times), (6, "net-1h", rates), (7, "net-2h", times), (8, "net-2h", rates),
    ):  # fmt: skip
        get = results.seconds if what == times else results.gflops
        values = _by_row(get, network)
        paths += _chart(number, network, what, values, ROWS, devices, folder, caption)
    for number, network in ((9, "net-1h"), (10, "net-2h")):
        parallel = tuple(row for row in ROWS if row.base)
        speedups = _speedups(results, network)
        label = "speedup over the row's serial counterpart"
        paths += _chart(number, network, label, speedups, parallel, devices, folder, caption)
    return paths


def _by_row(get: Callable[[str, str], dict[int, float]], network: str) -> Values:
    return lambda row: get(row.name, network)


def _speedups(results: Results, network: str) -> Values:
    return lambda row: results.speedups(row, network)


def _chart(
    number: int, network: str, what: str, values: Values, rows: tuple[PaperRow, ...],
    devices: bool, folder: Path, caption: str,
) -> list[Path]:  # fmt: skip
    figure, axes = pyplot().subplots(figsize=(8.5, 4.2))
    width = 0.8 / len(rows)
    for k, row in enumerate(rows):
        look = ROWS.index(row)
        _bars(axes, values(row), k, width, len(rows), look, _name(row, devices))
    axes.set_xticks(range(len(BATCHES)), list(map(str, BATCHES)))
    axes.set(xlabel="batch size", ylabel=what)
    if what.startswith("speedup"):
        axes.axhline(1, color="#888888", lw=0.8)
    else:
        axes.set_yscale("log")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside upper center", ncols=4, fontsize=7)
    bases = "; ".join(f"{row.name} over {row.base}" for row in rows if row.base)
    note = f"{network}, {what}"
    note += f"\n{bases}" if what.startswith("speedup") else ", logarithmic"
    name = f"figure-{number:02d}-{network}"
    return save(figure, folder, name, f"as the paper's figure {number}: {note}\n{caption}")


def _name(row: PaperRow, devices: bool) -> str:
    return f"{row.name} (no device)" if row.on_gpu and not devices else row.name


def _bars(
    axes: Any, values: dict[int, float], k: int, width: float, count: int, look: int, label: str
) -> None:
    if not values:  # named all the same, never left out in silence
        axes.bar([0], [np.nan], label=label, color="none", edgecolor="#888888")
        return
    places = np.array([BATCHES.index(batch) for batch in values], float)
    places += (k - (count - 1) / 2) * width
    axes.bar(
        places, list(values.values()), width, label=label, color=COLOURS[look % len(COLOURS)],
        hatch=HATCHES[look % len(HATCHES)], edgecolor="white", linewidth=0.4,
    )  # fmt: skip
