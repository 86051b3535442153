"""Create ``tests/samples/trajectory.npz``: training runs computed by PyTorch in float64.

The tests train on the same minibatches from the same weights and must get the same weights.
Run this with a Python that has PyTorch (the file was made with 2.14.1):

    python -m scripts.make_trajectory
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch

WIDTHS = (12, 9, 7, 4)
ROWS, BATCH, STEPS, RATE = 50, 8, 40, 0.5
CASES = {"mse": ("sigmoid", "sigmoid"), "cross": ("tanh", "softmax"), "relu": ("relu", "linear")}
# Of the case "cross", each with its options; the names are hpcpgd's.
LONG_STEPS, DECAY = 100, 0.02
OPTIMISERS = {
    "sgd": (torch.optim.SGD, {"lr": 0.1, "weight_decay": DECAY}),
    "momentum": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9, "weight_decay": DECAY}),
    "nesterov": (
        torch.optim.SGD, {"lr": 0.02, "momentum": 0.9, "weight_decay": DECAY, "nesterov": True}
    ),
    "adam": (torch.optim.Adam, {"lr": 0.01, "weight_decay": DECAY}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": DECAY}),
}  # fmt: skip


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


def follow(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, output: str, data: dict[str, Any]
) -> list[float]:
    """Train on the minibatches ``data["long_numbers"]`` and return the loss before each update."""
    losses = []
    for rows in data["long_numbers"]:
        x, labels = torch.from_numpy(data["x"][rows]), torch.from_numpy(data["labels"][rows])
        optimiser.zero_grad()
        loss = loss_of(output, model(x), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def ends(name: str, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return the trained weights (fan_in, fan_out) and biases, by the names under which they go."""
    arrays = [parameter.detach().numpy() for parameter in model.parameters()]
    return {f"{name}_end{i}": a.T if a.ndim == 2 else a for i, a in enumerate(arrays)}


def rates(name: str) -> np.ndarray:
    """Return the learning rates of PyTorch's schedule, from 0.3 on."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    kinds = torch.optim.lr_scheduler
    if name == "step":
        schedule: Any = kinds.MultiStepLR(optimiser, [50, 75])
    elif name == "cosine":
        schedule = kinds.CosineAnnealingLR(optimiser, LONG_STEPS)
    else:
        first = kinds.LinearLR(optimiser, 1 / 20, total_iters=19)
        then = kinds.CosineAnnealingLR(optimiser, LONG_STEPS - 20)
        schedule = kinds.SequentialLR(optimiser, [first, then], [20])
    values = []
    for _ in range(LONG_STEPS):
        values.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return np.array(values)


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
        losses = follow(model, optimiser, output, stored | {"long_numbers": numbers})
        stored[f"{case}_losses"] = np.array(losses)
        stored |= ends(case, model)
    stored["long_numbers"] = random.integers(0, ROWS, (LONG_STEPS, BATCH))
    hidden, output = CASES["cross"]
    for name, (kind, options) in OPTIMISERS.items():
        model = build(hidden, output, start)
        follow(model, kind(model.parameters(), **options), output, stored)
        stored |= ends(name, model)
    stored |= {f"{name}_rates": rates(name) for name in ("step", "cosine", "warmup")}
    path = Path(__file__).parent.parent / "tests" / "samples" / "trajectory.npz"
    np.savez_compressed(path, allow_pickle=False, **stored)
    print(f"{path.name}: {path.stat().st_size} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
