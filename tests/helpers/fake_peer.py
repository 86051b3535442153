"""A peer of ``scripts/bench_train.py`` in NumPy: makes the step, or fails as its argument says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench" / "peer_programs"))

from common import Layers, MissingError, Problem, serve


class Fake:
    def open(self, request: dict[str, Any]) -> str:
        if MANNER == "missing":
            raise MissingError("it needs a compiler")
        return f"Fake 1.0 {os.environ['OMP_NUM_THREADS']}"

    def model(self, problem: Problem) -> Stepper:
        return Stepper(problem)


class Stepper:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.put(problem.layers)

    def put(self, layers: Layers) -> None:
        self.layers = [(weights.copy(), biases.copy()) for weights, biases in layers]

    def get(self) -> Layers:
        return self.layers

    def train(self, first: int, steps: int, rate: float) -> None:
        print("a library's chatter")
        if MANNER == "dies":
            print("some trace\nout of luck", file=sys.stderr, flush=True)
            os._exit(3)
        if MANNER == "raises":
            raise ValueError("no\nsuch thing")
        if MANNER == "sleeps":
            time.sleep(60)
        for number in range(first, first + steps):
            self.step(number % len(self.problem.inputs), rate)

    def step(self, minibatch: int, rate: float) -> None:
        activations = [self.problem.inputs[minibatch]]
        for weights, biases in self.layers:
            activations.append(1 / (1 + np.exp(-(activations[-1] @ weights + biases))))
        back = activations[-1] - self.problem.targets[minibatch]
        scale = np.float32(rate / len(back) * (1.001 if MANNER == "wrong" else 1))
        for l in range(len(self.layers), 0, -1):
            weights, biases = self.layers[l - 1]
            delta = back * activations[l] * (1 - activations[l])
            back = delta @ weights.T
            weights -= scale * (activations[l - 1].T @ delta)
            biases -= scale * delta.sum(axis=0)


if __name__ == "__main__":
    MANNER = sys.argv[1]
    sys.exit(serve(Fake()))
