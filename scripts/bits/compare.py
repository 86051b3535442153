"""The bits of runs, and the runs that differ although they must not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from scripts.bits.cases import Run

COLUMNS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
BOUNDS = {"float32": 1e-4, "float64": 1e-12, "bf16": 0.03}

Weights = list[Any]


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes
    ----------
    bits : dict
        The hash in the run file, our hash of the weights in the run file, and the histories.
    error : float
        Largest error of a weight, relative to the largest weight of its array.
    """

    run: Run
    bits: dict[str, str | bytes]
    error: float
    blas: str

    @property
    def is_wrong(self) -> bool:
        """Whether the weights differ from those of ``reference``; true for NaN."""
        return not self.error <= BOUNDS.get(self.run.case.precision, BOUNDS[self.run.dtype])


def read_weights(path: Path) -> Weights:
    """Return weights and biases of each layer of a run file."""
    with h5py.File(path, "r") as file:
        layers = [file["model"][name] for name in sorted(file["model"]) if name.startswith("layer")]
        return [layer[name][...] for layer in layers for name in ("weights", "biases")]


def read(run: Run, path: Path, truth: Weights) -> Outcome:
    """Read a run file and compare its weights with those of ``reference``."""
    weights = read_weights(path)
    weights_hash = hashlib.sha256(b"".join(array.tobytes() for array in weights))
    bits: dict[str, str | bytes] = {"weights": weights_hash.hexdigest()}
    with h5py.File(path, "r") as file:
        bits["params_sha256"] = str(file.attrs["params_sha256"])
        bits |= {name: file["history"][name][...].tobytes() for name in COLUMNS}
        blas = str(file.attrs["blas_library"])
    pairs = zip(weights, truth, strict=True)
    errors = [np.abs(w.astype(np.float64) - t).max() / np.abs(t).max() for w, t in pairs]
    return Outcome(run, bits, float(np.max(errors)), blas)


def grouped(outcomes: Iterable[Outcome]) -> dict[Any, list[Outcome]]:
    """Return the outcomes in groups that must agree."""
    groups: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.run.group, []).append(outcome)
    return groups


def mismatches(group: Sequence[Outcome]) -> list[str]:
    """Return a line for each outcome that differs from the first of its group."""
    first, lines = group[0], []
    for other in group[1:]:
        differing = [name for name, bits in first.bits.items() if other.bits[name] != bits]
        if differing:
            lines.append(f"{other.run.name}: {', '.join(differing)} differ from {first.run.name}")
    return lines


def distinct(group: Sequence[Outcome]) -> tuple[int, int]:
    """Return how many different weights and how many different histories a group has."""
    weights = {(o.bits["params_sha256"], o.bits["weights"]) for o in group}
    return len(weights), len({tuple(o.bits[name] for name in COLUMNS) for o in group})
