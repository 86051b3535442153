"""The figures of one run: learning curves, and where the time went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.config.run_config import NETWORKS
from hpcpgd.errors import DataError
from hpcpgd.kernels.core.network import Array
from hpcpgd.results.atomic import make_folder
from hpcpgd.results.result_reader import ResultReader, opened_result
from hpcpgd.results.runfile import STATISTICS, over_ranks
from hpcpgd.study import figure_words as words
from hpcpgd.study import phase_bars
from hpcpgd.study.figure_form import FigureForm
from hpcpgd.study.grid import shared
from hpcpgd.study.read_run import logical_cores
from hpcpgd.study.rows import PHASE_COLUMNS
from hpcpgd.study.style import COLOURS, MARKERS, entitle, figure_style, new_figure, save

PANELS = {"loss": "loss", "accuracy": "accuracy (fraction correct)"}
MOST_BARS = 16  # ranks that are shown one by one
MOST_MARKERS = 40  # epochs
LAG = (
    "Training values are means over the steps of an epoch. They lag behind those of "
    "the validation, which follows the epoch."
)
Curves = dict[str, dict[str, Array]]  # (epochs,), or (1,) for the test, by panel and name


@figure_style()
def draw(path: Path, folder: Path, form: FigureForm) -> list[Path]:
    """Draw the figures of a run file; return the files.

    Raises
    ------
    DataError
        If it is not a run file, is damaged, or has no epoch yet.
    """
    with opened_result(path) as run:
        if not run.has("history"):
            raise DataError("no epoch has ended, so there is nothing to draw yet")
        title, date, status = _title(run), run.text("started")[:10], run.text("status")
        curves, bars = _curves(run), _bars(run)
        phases = words.phases({run.text("reduction")})
    make_folder(folder, folder)
    paths = []
    if curves:
        figure = _learning(curves, form.title or f"Learning curves of {title}", form.size)
        caption = f"{LAG}\nStatus of the run: {status}; {date}"
        paths += save(figure, folder, "learning", caption, form.formats)
    if bars:
        head = form.title or f"Where the time went: {title}"
        figure = phase_bars.make([{"": bars}], head, form.size)
        caption = f"Means over the epochs since the last start. {phases}\n{date}"
        paths += save(figure, folder, "phases", caption, form.formats)
    return paths


def _title(run: ResultReader) -> str:
    """Return two lines: network, dataset and machine; then the options of the run."""
    config = run.config()
    names = {",".join(map(str, widths)): name for name, widths in NETWORKS.items()}
    hidden = config.get("hidden", "")
    network = words.network(names.get(hidden, hidden.replace(",", "-")))
    where = words.place(run.text("cpu_model"), logical_cores(run), run.number("nodes"))
    return (
        f"{network} on {words.dataset(shared('dataset', run.text('dataset')))}, {where}\n"
        f"{run.text('backend')}, {run.text('reduction')}, batch {config.get('batch_size')}, "
        f"learning rate {config.get('learning_rate')}, "
        f"{words.workers(run.number('ranks'), run.number('threads'))}"
    )


def _curves(run: ResultReader) -> Curves:
    """Return the curves of loss and accuracy that have a finite value."""
    history, test = run.history(), run.test()
    curves = {
        panel: {
            "training": history[f"train_{panel}"],
            "validation": history[f"validation_{panel}"],
            f"test: {test[panel]:.4g}": np.array([test[panel]]),
        }
        for panel in PANELS
    }
    known = {
        panel: {name: values for name, values in lines.items() if np.isfinite(values).any()}
        for panel, lines in curves.items()
    }
    return {panel: lines for panel, lines in known.items() if lines}


def _bars(run: ResultReader) -> dict[str, list[float]]:
    """Return the seconds of each phase: a bar for each rank, or three bars for many ranks."""
    group = f"timing/segment{len(run.values('segments/ranks', (None,)))}"
    if not run.has(group):
        return {}
    by_rank = run.has(f"{group}/rank")
    shape = (None, None if by_rank else len(STATISTICS), len(PHASE_COLUMNS))
    seconds = run.times(f"{group}/seconds", shape)
    names = [f"rank {rank}" for rank in range(seconds.shape[1])]
    if not by_rank or len(names) > MOST_BARS:
        seconds = over_ranks(seconds) if by_rank else seconds
        names = [f"{name} of the ranks" for name in STATISTICS]
    order = [list(PHASE_COLUMNS).index(phase) for phase in words.PHASES]
    return dict(zip(names, seconds.mean(axis=0)[:, order].tolist(), strict=True))


def _learning(curves: Curves, title: str, size: tuple[float, float] | None) -> Any:
    """Return the figure of learning curves, the test as a point at the end."""
    figure = new_figure(*(size or (max(4.2 * len(curves) + 0.5, 6.5), 3.8)))
    all_axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (panel, lines) in zip(all_axes, curves.items(), strict=True):
        last = max(map(len, lines.values()))
        for (name, values), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
            epochs = np.arange(1, last + 1)[-len(values) :]
            few = marker if len(values) <= MOST_MARKERS else ""
            axes.plot(epochs, values, marker=few, ms=4, color=colour, label=name)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set(xlabel="epoch", ylabel=PANELS[panel])
        axes.legend(fontsize=8)
    entitle(figure, title)
    return figure
