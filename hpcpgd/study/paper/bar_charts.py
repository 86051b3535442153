"""The paper's six bar charts, its figures 5 to 10, from our numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.results.atomic import make_folder
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.paper_table import PaperRow
from hpcpgd.study.style import COLOURS, figure_style, logarithmic, new_figure, save
from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import SCALED, scaled_note

FAMILIES = ("loops", "gemv", "gemm", "pytensor", "keras-jax", "pytorch")
SECONDS, RATE, SPEEDUP = "time per epoch / s", "rate / GFLOP/s", "speedup over the serial row"


@dataclass(frozen=True)
class Legend:
    """The names of rows, with the reason for those that cannot run here.

    Attributes
    ----------
    cores : int
        Cores that the parallel rows use.
    absent : dict
        Why a row has no bars, by its name.
    """

    cores: int
    rows: tuple[PaperRow, ...]
    absent: dict[str, str]

    def name(self, row: PaperRow) -> str:
        """Return the row's name for a legend."""
        reason = self.absent.get(row.name)
        return f"{row.name} ({reason})" if reason else row.name


def look(row: PaperRow) -> dict[str, Any]:
    """Return colour and hatch: plain for serial, striped for parallel, dotted for the GPU."""
    hatch = "..." if row.on_gpu else "///" if row.parallel else ""
    return {"color": COLOURS[FAMILIES.index(row.family)], "hatch": hatch}


@figure_style()
def draw(results: Results, legend: Legend, folder: Path, caption: str) -> list[Path]:
    """Draw figures 5 to 10; return the files."""
    make_folder(folder, folder)
    paths = []
    for number, network, what in (
        (5, "net-1h", SECONDS), (6, "net-1h", RATE), (7, "net-2h", SECONDS),
        (8, "net-2h", RATE), (9, "net-1h", SPEEDUP), (10, "net-2h", SPEEDUP),
    ):  # fmt: skip
        paths += Chart(number, network, what, legend, results).draw(folder, caption)
    return paths


@dataclass(frozen=True)
class Chart:
    """One figure: a group of bars for each batch size, a bar for each row."""

    number: int
    network: str
    what: str
    legend: Legend
    results: Results

    @property
    def _rows(self) -> tuple[PaperRow, ...]:
        rows = self.legend.rows
        return tuple(row for row in rows if row.base) if self.what == SPEEDUP else rows

    def _values(self, row: PaperRow) -> dict[int, float]:
        """Return the heights of a row's bars by batch size."""
        if self.what == SPEEDUP:
            return self.results.speedups(row, self.network)
        measured = self.results.seconds if self.what == SECONDS else self.results.gflops
        return measured(row.name, self.network)

    def draw(self, folder: Path, caption: str) -> list[Path]:
        """Draw and save the figure; return the files."""
        values = {row: self._values(row) for row in self._rows}
        shown = [row for row, heights in values.items() if heights]
        figure = new_figure(9.5, 4.8)
        axes = figure.subplots()
        width = 0.86 / max(len(shown), 1)
        for row, heights in values.items():
            place = (shown.index(row) - (len(shown) - 1) / 2) * width if heights else 0.0
            self._bars(axes, row, heights, place, width)
        batches = self.results.batches
        axes.set_xticks(range(len(batches)), list(map(str, batches)))
        axes.set(xlabel="batch size", ylabel=self.what)
        if shown:
            self._scale(axes)
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside upper center", ncols=4, fontsize=7)
        text = f"as the paper's figure {self.number}: {self.network}, {self._note()}\n{caption}"
        name = f"figure-{self.number:02d}-{self.network}"
        return save(figure, folder, name, text)

    def _scale(self, axes: Any) -> None:
        if self.what == SPEEDUP:
            axes.axhline(1, color="#888888", lw=0.8)
            axes.axhline(self.legend.cores, color="#888888", lw=0.8, ls="--")
        else:
            logarithmic(axes)

    def _note(self) -> str:
        points = [p for row in self._rows for p in self._behind(row)]
        notes = [scaled_note(points)] if scaled_note(points) else []
        if self.what == SPEEDUP:
            bases = dict.fromkeys(row.base for row in self._rows)
            over = {b: [row.name for row in self._rows if row.base == b] for b in bases}
            notes.append(f"dashed: linear on {self.legend.cores} cores, beyond it superlinear")
            notes += [f"{' and '.join(names)} over {base}" for base, names in over.items()]
        else:
            notes.append("logarithmic")
        notes.insert(0, f"{self.results.rows} training rows an epoch")
        return f"{self.what}, {', '.join(notes)}"

    def _behind(self, row: PaperRow, batch: int | None = None) -> list[Summary]:
        """Return the points behind a row's bars, for a speedup also those of its base."""
        names = [row.name, row.base] if self.what == SPEEDUP else [row.name]
        series = [self.results.over_batches(name, self.network) for name in names]
        return [p for points in series for b, p in points.items() if batch in (None, b)]

    def _bars(
        self, axes: Any, row: PaperRow, values: dict[int, float], place: float, width: float
    ) -> None:
        label = self.legend.name(row)
        if not values:  # the legend names the row all the same
            axes.bar([0], [np.nan], label=label, color="none", edgecolor="#888888")
            return
        places = np.array([self.results.batches.index(b) for b in values], float) + place
        style = {"edgecolor": "white", "linewidth": 0.4, **look(row)}
        axes.bar(places, list(values.values()), width, label=label, **style)
        for x, (batch, height) in zip(places, values.items(), strict=True):
            if any(p.scaled for p in self._behind(row, batch)):
                axes.text(x, height, SCALED, ha="center", va="bottom")
