"""The figure of one run: learning curves, where the time went, the confusion of the test."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.cli.launcher import guarded, launcher_rank, say
from hpcpgd.cli.parser import OneLineParser
from hpcpgd.config.run_config import NETWORKS
from hpcpgd.errors import DataError, UsageError, printable
from hpcpgd.kernels.core.network import Array
from hpcpgd.results.atomic import check_writable
from hpcpgd.results.result_reader import ResultReader, opened_result
from hpcpgd.results.runfile import STATISTICS, over_ranks
from hpcpgd.study import figure_words as words
from hpcpgd.study import phase_bars
from hpcpgd.study.figure_form import ALL_FORMATS, BY_CONTENT, FigureForm, size
from hpcpgd.study.grid import shared
from hpcpgd.study.read_run import logical_cores
from hpcpgd.study.rows import PHASE_COLUMNS
from hpcpgd.study.style import COLOURS, MARKERS, entitle, figure_style, new_figure, save

DESCRIPTION = """Draw a run file as a page: loss and accuracy of each epoch, where the time went,
the confusion matrix of the test.  It needs pip install 'hpcpgd[report]'.  Exit code: 0 done, 65 bad
run file, or one without an epoch, 69 matplotlib is missing, 74 the output cannot be written."""
PANELS = {
    "loss": "loss",
    "accuracy": "accuracy (fraction correct)",
    "r2": "R2 (explained fraction of the variance)",
}
LINES = {"training": "train", "validation": "validation"}
MOST_BARS = 16  # ranks that are shown one by one
MOST_MARKERS = 40  # epochs
MOST_CLASSES = 20  # whose labels and numbers can be read
LAG = (
    "Training values are means over the steps of an epoch. They lag behind those of "
    "the validation, which follows the epoch."
)
CONFUSION = "Confusion: test rows; the darker, the larger is their share of the true class."


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd plot`` and return its exit code; under a launcher one rank works."""
    return guarded("hpcpgd plot", lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser("hpcpgd plot", None, DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN.h5")
    add("--output", type=Path, metavar="FILE", help="default: RUN.FORMAT")
    add("--format", choices=ALL_FORMATS, help="default: by the name of the output, else png")
    add("--size", type=size, metavar="WxH", help="in inches, such as 9x6 (default: by the content)")
    add("--title", metavar="TEXT", help="default: what was trained, on what and where")
    add("--overwrite", action="store_true", help="replace an existing file")
    options = parser.parse_args(argv)
    output = options.output or options.run.with_suffix(f".{options.format or 'png'}")
    endings = [f".{name}" for name in ALL_FORMATS if options.format in (None, name)]
    if output.suffix not in endings:
        raise UsageError(f"--output {output}: expected a name in {', '.join(endings)}")
    if launcher_rank() == 0:
        check_writable(output, options.overwrite, options.run)
        draw(options.run, output, FigureForm(options.size, options.title))
        say(f"figure  {output}")
    return 0


@figure_style()
def draw(path: Path, output: Path, form: FigureForm = BY_CONTENT) -> None:
    """Draw a run file as one page; the ending of ``output`` names its format.

    Raises
    ------
    DataError
        If it is not a run file, is damaged, or has no epoch yet.
    """
    with opened_result(path) as run:
        if not run.has("history"):
            raise DataError("no epoch has ended, so there is nothing to draw yet")
        panels = [(partial(_curve, *curve), LAG) for curve in _curves(run).items()]
        if bars := _bars(run):
            merged = any(bar[1] == 0 for bar in bars.values())
            panels.append((partial(_times, bars), words.phases(merged)))
        if np.isfinite(run.test().get("accuracy", np.nan)):
            labels = run.labels("model/class_labels")
            table = run.times("test/confusion", (len(labels), len(labels)))
            panels.append((partial(_matrix, table, labels), CONFUSION))
        title = form.title or f"Training of {_title(run)}"
        status = f"Status of the run: {run.text('status')}; {run.text('started')[:10]}"
    rows = -(-len(panels) // 2)
    figure = new_figure(*(form.size or (10.0, 3.3 * rows + 1.2)))
    for number, (panel, _) in enumerate(panels, 1):
        last = 2 * rows if number == len(panels) else number  # the last one may be wide
        panel(figure.add_subplot(rows, 2, (number, last)))
    entitle(figure, title)
    caption = "\n".join([*dict.fromkeys(text for _, text in panels), status])
    save(figure, output.parent, output.stem, caption, (output.suffix[1:],))


def _title(run: ResultReader) -> str:
    """Return two lines: network, dataset and machine; then the options of the run."""
    config = run.config()
    names = {",".join(map(str, widths)): name for name, widths in NETWORKS.items()}
    hidden = config.get("hidden", "")
    network = words.network(names.get(hidden, hidden.replace(",", "-")))
    schedule = config.get("schedule", "constant")
    where = words.place(run.text("cpu_model"), logical_cores(run), run.number("nodes"))
    return (
        f"{network} on {words.dataset(shared('dataset', run.text('dataset')))}, {where}\n"
        f"{run.text('backend')}, {run.text('reduction')}, batch {config.get('batch_size')}, "
        f"{config.get('optimizer', 'sgd')}, learning rate {config.get('learning_rate')}"
        f"{f' ({schedule})' * (schedule != 'constant')}, "
        f"{words.workers(run.number('ranks'), run.number('threads'))}"
    )


def _curves(run: ResultReader) -> dict[str, dict[str, Array]]:
    """Return the curves, (epochs,), or (1,) of the test, with a finite value; by panel and name."""
    history, test = run.history(), run.test()
    curves = dict[str, dict[str, Array]]()
    for panel in (name for name in PANELS if f"train_{name}" in history):
        lines = {name: history[f"{key}_{panel}"] for name, key in LINES.items()}
        score = test.get(panel, np.nan)
        lines[f"test: {score:.4g}"] = np.array([score])
        lines = {name: values for name, values in lines.items() if np.isfinite(values).any()}
        curves |= {panel: lines} if lines else {}
    return curves


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


def _curve(panel: str, lines: dict[str, Array], axes: Any) -> None:
    """Draw a value of each epoch, the test as a point at the end."""
    last = max(map(len, lines.values()))
    for (name, values), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        epochs = np.arange(1, last + 1)[-len(values) :]
        few = marker if len(values) <= MOST_MARKERS else ""
        axes.plot(epochs, values, marker=few, ms=4, color=colour, label=name)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set(xlabel="epoch", ylabel=PANELS[panel])
    axes.legend(fontsize=8)


def _times(bars: dict[str, list[float]], axes: Any) -> None:
    """Draw the bars of phases, with their legend above them."""
    phase_bars.panel(axes, {"": bars})
    axes.set_xlabel("time per epoch (ms), mean since the last start")
    where = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3, "columnspacing": 1}
    where |= {"title": "Where the time went", "alignment": "left", "fontsize": 8}
    axes.legend(axes.containers, list(words.PHASES), **where)


def _matrix(table: Array, labels: tuple[str, ...], axes: Any) -> None:
    """Draw a confusion matrix, with labels and numbers for few classes."""
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title("Confusion matrix of the test", loc="left", fontsize=9)
    axes.grid(visible=False)
    if len(labels) > MOST_CLASSES:
        return
    short = [printable(label)[:16] for label in labels]
    axes.set_xticks(range(len(short)), short, rotation=90 if max(map(len, short)) > 3 else 0)
    axes.set_yticks(range(len(short)), short)
    for (row, column), number in np.ndenumerate(table.astype(int)):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, number or "", color=colour, fontsize=6, ha="center", va="center")
