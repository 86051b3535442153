"""NumPy in float64 as a library of the paper's study, which uses what such programs share."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

found = find_spec("hpcpgd.study.libraries")  # found, not imported: no MPI, no numba
assert found is not None
sys.path.insert(0, str(Path(str(found.origin)).parent))

from common import Problem, main  # noqa: E402  # after the path


def prepare(options: argparse.Namespace) -> None:
    """Do nothing: NumPy needs no preparation."""


def versions(options: argparse.Namespace) -> str:
    if options.device == "gpu":
        raise RuntimeError("NumPy knows no GPU")
    return "NumPy in float64"


class Numpy:
    """Algorithm 4 in its plainest form."""

    device = "cpu"

    def __init__(self, problem: Problem, options: argparse.Namespace, batch: int) -> None:
        self.batch, self.rate = batch, options.rate
        self.layers = [[a.astype("float64") for a in layer] for layer in problem.layers]

    def place(self, inputs: Any, targets: Any) -> None:
        self.inputs, self.targets = inputs.astype("float64"), targets

    def train(self) -> None:
        self.total = 0.0
        for start in range(0, len(self.inputs), self.batch):
            stop = start + self.batch
            self.step(self.inputs[start:stop], self.targets[start:stop])

    def step(self, x: Any, y: Any) -> None:
        import numpy as np

        outputs = [x]
        for weights, biases in self.layers:
            outputs.append(1 / (1 + np.exp(-(outputs[-1] @ weights + biases))))
        error = outputs[-1] - y
        self.total += float((error**2).sum())
        delta = error * outputs[-1] * (1 - outputs[-1])
        for l in reversed(range(len(self.layers))):
            weights, biases = self.layers[l]
            back = (delta @ weights.T) * outputs[l] * (1 - outputs[l])
            weights -= self.rate / len(x) * outputs[l].T @ delta
            biases -= self.rate / len(x) * delta.sum(axis=0)
            delta = back

    def loss(self) -> float:
        return self.total / len(self.inputs)


if __name__ == "__main__":
    sys.exit(main(prepare, versions, Numpy))
