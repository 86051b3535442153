"""The bits of runs, and which runs differ that must not."""

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
BOUNDS = {"float32": 1e-4, "float64": 1e-12}

Weights = list[Any]


@dataclass(frozen=True)
class Outcome:
    """What a run left.

    Attributes
    ----------
    bits : dict
        The hash that the run file has, our own of the weights that it has, and the histories.
    error : float
        Largest error of a weight, relative to the largest weight of its array.
    blas : str
    """

    run: Run
    bits: dict[str, str | bytes]
    error: float
    blas: str

    @property
    def is_wrong(self) -> bool:
        """Say whether the weights are not those of ``reference``, be it for a NaN."""
        return not self.error <= BOUNDS[self.run.dtype]


def read_weights(path: Path) -> Weights:
    """Return weights and biases of each layer of a run file."""
    with h5py.File(path, "r") as file:
        layers = [file["model"][name] for name in sorted(file["model"]) if name.startswith("layer")]
        return [layer[name][...] for layer in layers for name in ("weights", "biases")]


def read(run: Run, path: Path, truth: Weights) -> Outcome:
    """Read a run file and hold its weights against the true ones."""
    weights = read_weights(path)
    own = hashlib.sha256(b"".join(array.tobytes() for array in weights))
    bits: dict[str, str | bytes] = {"weights": own.hexdigest()}
    with h5py.File(path, "r") as file:
        bits["params_sha256"] = str(file.attrs["params_sha256"])
        bits |= {name: file["history"][name][...].tobytes() for name in COLUMNS}
        return Outcome(run, bits, _error(weights, truth), str(file.attrs["blas_library"]))


def _error(weights: Weights, truth: Weights) -> float:
    pairs = zip(weights, truth, strict=True)
    errors = [np.abs(w.astype(np.float64) - t).max() / np.abs(t).max() for w, t in pairs]
    return float(np.max(errors))


def grouped(outcomes: Iterable[Outcome]) -> dict[Any, list[Outcome]]:
    """Return the outcomes that must agree, together."""
    groups: dict[Any, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.run.group, []).append(outcome)
    return groups


def mismatches(group: Sequence[Outcome]) -> list[str]:
    """Name each outcome that differs from the first of its group, and in what."""
    first, found = group[0], []
    for other in group[1:]:
        differing = [name for name, bits in first.bits.items() if other.bits[name] != bits]
        if differing:
            found.append(f"{other.run.name}: {', '.join(differing)} differ from {first.run.name}")
    return found


def distinct(group: Sequence[Outcome]) -> tuple[int, int]:
    """Return how many different weights and how many different histories a group has."""
    weights = {(o.bits["params_sha256"], o.bits["weights"]) for o in group}
    return len(weights), len({tuple(o.bits[name] for name in COLUMNS) for o in group})
