"""The page that ``hpcpgd info`` prints."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from pathlib import Path

import numpy as np

from hpcpgd.cli.quantities import duration, number, percent, reached
from hpcpgd.config.run_config import FIELDS
from hpcpgd.data.dataset import Array
from hpcpgd.errors import printable
from hpcpgd.results.result_reader import ResultReader, config_text, opened_result

WIDTH, LABEL = 100, 22
COLUMNS = "{:>7}{:>12}{:>11}{:>17}{:>11}{:>11}"
ENDS = {
    "stopped": "stopped before its end",
    "diverged": "diverged: its numbers became infinite or NaN",
    "running": "still running, or killed after this file was written",
}
# Options that have a line of their own, or name files.
PLACED = ("dataset", "hidden", "activation", "output_activation", "loss", "backend", "reduction",
          "threads", "dtype", "matmul_precision", "output")  # fmt: skip


def page(path: Path) -> str:
    """Return what a run file says, in at most 100 columns.

    Raises
    ------
    DataError
        If it is not a run file, or is damaged.
    """
    with opened_result(path) as run:
        facts = {"run file": path.name, **_what(run), **machine(run), **_outcome(run)}
    return "\n".join(row(label, text) for label, text in facts.items())


def row(label: str, text: str) -> str:
    """Return a label and a text as at most three lines; spaces within the text are kept."""
    line = f"{label:<{LABEL}}{text if text.isprintable() else printable(text)}"
    return textwrap.fill(
        line, WIDTH, subsequent_indent=" " * LABEL, max_lines=3, break_on_hyphens=False
    )


def machine(run: ResultReader) -> dict[str, str]:
    """Return the machine of a run and the versions of its libraries, by label."""
    last = len(run.values("segments/first_step", (None,)))
    hosts = list(dict.fromkeys(run.texts(f"ranks/segment{last}/host")))
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    crowded = bool(run.values("segments/oversubscribed", (None,))[-1])
    libraries = (
        f"{name} {[*run.texts(f'segments/{name.lower()}_version')][-1]}"
        for name in ("Python", "NumPy", "numba")
    )
    revision = run.text("git_revision")  # perhaps with -dirty at its end
    return {
        "host": ", ".join(hosts[:3]) + more,
        "processor": run.text("cpu_model"),
        "GPU": f"{run.text('gpu_model')} {run.text('gpu_library')}".replace("none none", "none"),
        "ranks x threads": f"{run.number('ranks')} x {run.number('threads')}, nodes "
        f"{run.number('nodes')}{', more threads than cores' * crowded}",
        "BLAS": run.text("blas_library"),
        "MPI": run.text("mpi_library"),
        "libraries": ", ".join(libraries),
        "hpcpgd": f"{run.text('hpcpgd_version')} {revision[:12]}{revision[40:]}",
    }


def _what(run: ResultReader) -> dict[str, str]:
    config = defaultdict(str, run.config())
    default = {key: config_text(field.default) for key, field in FIELDS.items()}
    others = [f"{k} {v}" for k, v in config.items() if k not in PLACED and v != default.get(k)]
    train, validation, test = (run.number(f"{s}_rows", 0) for s in ("train", "validation", "test"))
    dtype, precision = run.text("dtype"), run.text("precision")
    return {
        "network": f"hidden {config['hidden']}, {config['activation']}, output "
        f"{config['output_activation']}, loss {config['loss']}, "
        f"{run.number('n_parameters')} parameters",
        "dataset": f"{run.text('dataset')}: {train} training, {validation} validation, {test} test "
        f"rows, sha256 {run.text('dataset_sha256')[:12]}",
        "arithmetic": f"{run.text('backend')}, {run.text('reduction')}, {dtype}"
        f"{f', products in {precision}' * (precision != dtype)}",
        "other options": ", ".join(others) or "the defaults",
    }


def _outcome(run: ResultReader) -> dict[str, str]:
    status, steps = run.text("status"), run.values("segments/last_step", (None,))
    end = f"{ENDS.get(status, status)}, {steps[-1]} steps; started {run.text('started')}"
    ranks = run.values("segments/ranks", (len(steps),))
    segments = [f"to step {s} on {n} ranks" for s, n in zip(steps, ranks, strict=True)]
    for texts in run.changed().values():
        segments = [f"{s} in {text}" for s, text in zip(segments, texts, strict=True)]
    facts = {"status": end} | ({"segments": ", ".join(segments)} if len(steps) > 1 else {})
    if run.has("history"):
        facts |= _history(run.history(), run.test()) | _phases(run, len(steps))
        facts["time"] += ", over all segments" * (len(steps) > 1)
    if run.has("target"):
        when = (float(run.values(f"target/{n}", ())) for n in ("epochs", "steps", "seconds"))
        facts["target accuracy"] = f"{run.config().get('target_accuracy')}, {reached(*when)}"
    if run.has("best_model"):
        facts["best weights"] = f"of epoch {run.real('best_model', 'epoch'):.0f}, by its validation"
    if (used := run.others_used()) > 0:
        facts["other processes"] = (
            f"used {used:.1f} cores while this run was timed: its times may be too long"
        )
    if run.has("params_sha256"):
        facts["params_sha256"] = run.text("params_sha256")
    return facts


def _history(history: dict[str, Array], test: dict[str, float]) -> dict[str, str]:
    score, shown = ("r2", number) if "train_r2" in history else ("accuracy", percent)
    head = ("epoch", "train loss", score, "validation loss", score, "time")
    seconds, last = history["epoch_seconds"], len(history["epoch_seconds"]) - 1
    facts = {"": COLUMNS.format(*head)}
    for label, epoch in (("first", 0), _best(history), ("last", last)):
        at = {name: float(values[epoch]) for name, values in history.items()}
        facts[label] = COLUMNS.format(
            epoch + 1, number(at["train_loss"]), shown(at[f"train_{score}"]),
            number(at["validation_loss"]), shown(at[f"validation_{score}"]),
            duration(at["epoch_seconds"]),
        )  # fmt: skip
    facts["test"] = COLUMNS.format("", number(test["loss"]), shown(test[score]), "", "", "")
    median, whole = duration(float(np.median(seconds))), duration(float(seconds.sum()))
    rate = f"{np.median(history['gflops']):.3g} GFLOP/s"
    facts["time"] = f"{median} an epoch (median of {last + 1}), {whole} in all, {rate}"
    return facts


def _best(history: dict[str, Array]) -> tuple[str, int]:
    """Return a label and the number of the best epoch, from 0."""
    for name, sign in (("validation_accuracy", 1), ("validation_loss", -1), ("train_loss", -1)):
        if not np.isnan(history[name]).all():
            label = "best accuracy" if sign > 0 else "lowest loss"
            return label, int(np.nanargmax(sign * history[name]))
    return "lowest loss", 0


def _phases(run: ResultReader, segments: int) -> dict[str, str]:
    totals = defaultdict[str, float](float)
    for place in (f"timing/segment{n}" for n in range(1, segments + 1)):
        if run.has(f"{place}/seconds"):
            names = list(run.texts(f"{place}/phase"))
            seconds = run.times(f"{place}/seconds", (None, None, len(names)))
            # For more than 1,024 ranks the file has the minimum, the median and the maximum.
            ranks = seconds[:, 1] if run.has(f"{place}/statistic") else seconds.mean(axis=1)
            for name, value in zip(names, ranks.sum(axis=0), strict=True):
                totals[name] += float(value)
    whole = sum(totals.values()) or 1.0
    shares = (f"{name} {100 * value / whole:.1f} %" for name, value in totals.items())
    return {"phases, mean": ", ".join(shares)}
