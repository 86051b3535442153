"""The default learning rate: its rule, and the limit that the rule says it keeps to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import PAPER_FUNCTIONS
from hpcpgd.data import load, prepare
from hpcpgd.engines.parameters import initial_parameters, make_network

RATES: list[tuple[dict[str, Any], float]] = [
    ({}, 1.0),
    ({"batch_size": 64}, 2.0),
    ({"batch_size": "full"}, 4.0),
    ({"hidden": (1024, 32)}, 1.0),
    ({"hidden": (300,)}, 0.427),
    ({"activation": "relu", "hidden": (1024,)}, 0.3),
    ({"activation": "tanh", "output_activation": "linear"}, 0.03),
    ({"output_activation": "tanh", "hidden": (1024,)}, 0.00781),
    ({"output_activation": "softmax", "loss": "cross-entropy", "hidden": (1024,)}, 0.1),
    ({"hidden": (1024,), "learning_rate": 0.5}, 0.5),
    ({"optimizer": "nesterov", "momentum": 0.75, "batch_size": 64}, 0.5),
    ({"optimizer": "adamw", "batch_size": "full"}, 0.001),
]


@pytest.mark.parametrize(("options", "rate"), RATES, ids=[str(options) for options, _ in RATES])
def test_the_rate_by_network_loss_and_batch(options: dict[str, Any], rate: float) -> None:
    assert resolve(PAPER_FUNCTIONS, options).learning_rate == rate
    assert resolve({}, {"hidden": (1024, 1024), "batch_size": 1024}).learning_rate == 0.3


@pytest.mark.parametrize("hidden", [(32,), (128,), (512,), (128, 256)])
def test_large_batches_step_as_far_as_the_curvature_lets_them(hidden: tuple[int, ...]) -> None:
    """The limit is 2 / curvature at the initial weights, on the digits.

    The curvature is the largest eigenvalue of the units' second moments, times the steepest
    slope squared.
    """
    options = {"hidden": hidden, "batch_size": "full", "dtype": "float64"}
    config = resolve({}, PAPER_FUNCTIONS | options)
    data = prepare(load("digits", seed=0), seed=0, train_rows=None, test_fraction=None).train
    network = make_network(config, data.features.shape[1], 10)
    flat, units = initial_parameters(network, 0), data.features / data.features.max()
    for layer in range(1, network.depth):
        units = 1 / (1 + np.exp(-(units @ network.weights(flat, layer))))
    units = np.hstack([units, np.ones((data.rows, 1))])
    limit = 2 / (np.linalg.eigvalsh(units.T @ units / data.rows)[-1] / 4**2)
    assert 0.8 < float(config.learning_rate) / limit < 1.3
