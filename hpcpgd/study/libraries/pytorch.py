"""PyTorch on the training problem: eager operations, autograd and its SGD."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from common import Array, Problem, main


def prepare(options: argparse.Namespace) -> None:
    """Hide the GPUs from a run on the CPU."""
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def versions(options: argparse.Namespace) -> str:
    """Return the library and its version."""
    import torch

    if options.device == "gpu" and not torch.cuda.is_available():
        raise RuntimeError(f"PyTorch {torch.__version__} sees no GPU")
    return f"PyTorch {torch.__version__}"


class Torch:
    """The network as ``torch.nn`` has it; each step is dispatched operation by operation."""

    def __init__(self, problem: Problem, options: argparse.Namespace, batch: int) -> None:
        import torch

        torch.set_num_threads(options.threads)
        torch.set_float32_matmul_precision("highest")  # no TF32
        self._torch = torch
        self._batch = batch
        self._place = "cuda" if options.device == "gpu" else "cpu"
        self.device = torch.cuda.get_device_name() if options.device == "gpu" else "cpu"
        modules = []
        for weights, biases in problem.layers:
            layer = torch.nn.Linear(*weights.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weights.T))
                layer.bias.copy_(torch.from_numpy(biases))
            modules += [layer, torch.nn.Sigmoid()]
        self._network = torch.nn.Sequential(*modules).to(self._place)
        parameters = self._network.parameters()
        self._optimizer = torch.optim.SGD(parameters, lr=options.rate, fused=True)

    def place(self, inputs: Array, targets: Array) -> None:
        """Put the examples on the device and cut them into minibatches."""
        tensors = (self._torch.from_numpy(a).to(self._place) for a in (inputs, targets))
        self._minibatches = list(zip(*(t.split(self._batch) for t in tensors), strict=True))

    def _step(self, x: Array, y: Array) -> Any:
        """Make one step and return the sum of ``|y - a|^2`` before it."""
        self._optimizer.zero_grad()
        total = self._torch.nn.functional.mse_loss(self._network(x), y, reduction="sum")
        (total * (0.5 / len(x))).backward()
        self._optimizer.step()
        return total.detach()

    def train(self) -> None:
        """Make the steps of an epoch."""
        self._totals = [self._step(x, y) for x, y in self._minibatches]
        if self._place == "cuda":
            self._torch.cuda.synchronize()

    def loss(self) -> float:
        """Return the mean of ``|y - a|^2`` over the examples of the epoch."""
        examples = sum(len(x) for x, _ in self._minibatches)
        return float(self._torch.stack(self._totals).double().sum()) / examples


if __name__ == "__main__":
    sys.exit(main(prepare, versions, Torch))
