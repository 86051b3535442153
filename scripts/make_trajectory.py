"""Create ``tests/samples/trajectory.npz``: training runs computed by PyTorch in float64.

The tests train on the same minibatches from the same weights and must get the same weights.
Run this with a Python that has PyTorch (the file was made with 2.13.0):

    python -m scripts.make_trajectory
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch

WIDTHS = (12, 9, 7, 4)
ROWS, BATCH, STEPS, RATE = 50, 8, 40, 0.5
CASES = {
    "mse": ("sigmoid", "sigmoid"),
    "cross": ("tanh", "softmax"),
    "relu": ("relu", "linear"),
}


def build(hidden: str, output: str, start: list[np.ndarray]) -> torch.nn.Sequential:
    """Return the network with the given weights (fan_in, fan_out) and biases."""
    functions = {"sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
    layers: list[torch.nn.Module] = []
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(WIDTHS)):
        linear = torch.nn.Linear(fan_in, fan_out, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(start[2 * layer].T.copy()))
            linear.bias.copy_(torch.from_numpy(start[2 * layer + 1]))
        layers.append(linear)
        name = hidden if layer < len(WIDTHS) - 2 else output
        if name in functions:
            layers.append(functions[name]())
    return torch.nn.Sequential(*layers)


def loss_of(output: str, a: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss that is optimised: half the mean squared error, or cross-entropy."""
    if output == "softmax":
        return torch.nn.functional.cross_entropy(a, labels)
    y = torch.nn.functional.one_hot(labels, WIDTHS[-1]).double()
    return 0.5 * ((y - a) ** 2).sum(dim=1).mean()


def main() -> None:
    random = np.random.default_rng(20260101)
    x = random.standard_normal((ROWS, WIDTHS[0]))
    labels = random.integers(0, WIDTHS[-1], ROWS)
    numbers = random.integers(0, ROWS, (STEPS, BATCH))
    start = []
    for fan_in, fan_out in itertools.pairwise(WIDTHS):
        start += [random.standard_normal((fan_in, fan_out)) * 0.4, random.standard_normal(fan_out)]
    stored = {"x": x, "labels": labels, "numbers": numbers}
    stored |= {f"start{i}": array for i, array in enumerate(start)}
    for case, (hidden, output) in CASES.items():
        model = build(hidden, output, start)
        optimiser = torch.optim.SGD(model.parameters(), lr=RATE)
        losses = []
        for rows in numbers:
            optimiser.zero_grad()
            loss = loss_of(output, model(torch.from_numpy(x[rows])), torch.from_numpy(labels[rows]))
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        stored[f"{case}_losses"] = np.array(losses)
        for i, parameter in enumerate(model.parameters()):
            array = parameter.detach().numpy()
            stored[f"{case}_end{i}"] = array.T if array.ndim == 2 else array
    path = Path(__file__).parent.parent / "tests" / "samples" / "trajectory.npz"
    np.savez_compressed(path, allow_pickle=False, **stored)
    print(f"{path.name}: {path.stat().st_size} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
