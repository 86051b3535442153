"""The differences between two run files, as ``hpcpgd compare`` prints them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hpcpgd.cli.quantities import duration, number, percent
from hpcpgd.data.dataset import Array
from hpcpgd.info.run_page import machine, row
from hpcpgd.results.result_reader import RESULTS, opened_result

# Options that do not change the result: names of files, checkpoints, limits and output.
UNCOMPARED = ("output", "checkpoint_dir", "checkpoint_every", "resume", "time_limit", "hang_limit",
              "overwrite", "quiet")  # fmt: skip


class Facts(NamedTuple):
    """The values of a run that are compared; ``history`` and ``params_sha256`` may be empty."""

    status: str
    config: dict[str, str]
    machine: dict[str, str]
    params_sha256: str
    history: dict[str, Array]
    final: dict[str, str]
    segments: int

    @property
    def epochs(self) -> int:
        """The number of epochs in the history."""
        return len(self.history["epoch_seconds"]) if self.history else 0


def differences(first: Path, second: Path) -> str:
    """Return the differences between two run files, a section for each subject.

    Raises
    ------
    DataError
        If one of them is not a run file, or is damaged.
    """
    a, b = _read(first), _read(second)
    sections = {
        "configuration": _changes(a.config, b.config),
        "machine and versions": _changes(a.machine, b.machine),
        "bits": _bits(a, b, first, second),
        "history": _history(a, b),
    }
    lines = [row("first", f"{first} ({a.status})"), row("second", f"{second} ({b.status})")]
    same = [name for name, rows in sections.items() if not rows]
    if len(same) == len(sections):
        lines.append("nothing but the time differs")
    elif same:
        lines.append(row("the same", ", ".join(same)))
    for name, rows in {**sections, "time": _time(a, b)}.items():
        lines += [name, *rows] if rows else []
    return "\n".join(lines)


def _read(path: Path) -> Facts:
    with opened_result(path) as run:
        config = {"dataset_sha256": run.text("dataset_sha256"), **run.config()}
        for option, texts in run.changed().items():  # of which the configuration has the last
            config[option] = " then ".join(name for name, _ in itertools.groupby(texts))
        history = run.history() if run.has("history") else {}
        final = {name: float(history[name][-1]) for name in RESULTS if history}
        final |= {f"test_{name}": value for name, value in run.test().items()}
        return Facts(
            run.text("status"),
            {key: text for key, text in config.items() if key not in UNCOMPARED},
            machine(run),
            run.text("params_sha256") if run.has("params_sha256") else "",
            history,
            {k: percent(v) if k.endswith("accuracy") else number(v) for k, v in final.items()},
            len(run.values("segments/last_step", (None,))),
        )


def _beside(label: str, first: str, second: str) -> str:
    return row(f"  {label}", f"{first} | {second}")


def _changes(a: dict[str, str], b: dict[str, str]) -> list[str]:
    pairs = {name: (a.get(name, "-"), b.get(name, "-")) for name in a | b}
    return [_beside(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1]]


def _bits(a: Facts, b: Facts, first: Path, second: Path) -> list[str]:
    hashes = [facts.params_sha256[:12] or "no weights" for facts in (a, b)]
    if a.params_sha256 == b.params_sha256 != "":
        return []
    x, y = _weights(first), _weights(second)
    both = [name for name in x if name in y and x[name].shape == y[name].shape]
    gaps = {_gap(x[name], y[name]): name for name in both}
    most = f"{max(gaps):.2g} of the largest value, in {gaps[max(gaps)]}" if gaps else "-"
    return [_beside("params_sha256", *hashes), row("  largest difference", most)]


def _gap(x: Array, y: Array) -> float:
    """Return the largest difference, relative to the largest absolute value."""
    with np.errstate(all="ignore"):  # a damaged file may hold NaN or zeros alone
        return float(np.abs(x - y).max() / max(np.abs(x).max(), np.abs(y).max()))


def _weights(path: Path) -> dict[str, Array]:
    with opened_result(path) as run:
        layers = itertools.takewhile(run.has, (f"model/layer{n}" for n in itertools.count(1)))
        return {
            f"{layer}/{part}": run.values(f"{layer}/{part}", shape).astype(np.float64)
            for layer in layers
            for part, shape in (("weights", (None, None)), ("biases", (None,)))
        }


def _history(a: Facts, b: Facts) -> list[str]:
    both = min(a.epochs, b.epochs)
    pairs = {name: (a.history[name][:both], b.history[name][:both]) for name in RESULTS if both}
    # NaN means that a value was not measured.
    same = {name: (x == y) | (np.isnan(x) & np.isnan(y)) for name, (x, y) in pairs.items()}
    firsts = [(int(np.argmin(equal)), name) for name, equal in same.items() if not equal.all()]
    rows = []
    if firsts:
        epoch, name = min(firsts)
        x, y = (repr(float(values[epoch])) for values in pairs[name])
        rows.append(_beside("first difference", f"epoch {epoch + 1}, {name}: {x}", y))
    if a.epochs != b.epochs:
        rows.append(_beside("epochs", str(a.epochs), str(b.epochs)))
    if rows or a.final != b.final:
        rows += [_beside(k, a.final.get(k, "-"), b.final.get(k, "-")) for k in a.final | b.final]
    return rows


def _time(a: Facts, b: Facts) -> list[str]:
    if not (a.history and b.history):
        return []
    x, y = (float(np.median(facts.history["epoch_seconds"])) for facts in (a, b))
    ratio = f"{y / x:.3g} times as long" if x else "no ratio"
    ratio += ", over all segments" * (max(a.segments, b.segments) > 1)
    return [_beside("median epoch", duration(x), f"{duration(y)}, {ratio}")]
