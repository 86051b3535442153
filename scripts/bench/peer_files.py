"""The files by which peers receive a problem and return weights, in a folder on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.loader import load_rows, scaling_of
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.workspace import Workspace
from scripts.bench.setting import SEED, Setting

# Enough that the minibatches of a ring do not fit in the private cache of a core: 26 MB.
RING_EXAMPLES = 8192


def problem_key(setting: Setting) -> str:
    """Return a name of a setting's network and batch size."""
    return f"{'-'.join(map(str, setting.network.widths))}-batch-{setting.batch}"


def minibatches(setting: Setting) -> tuple[Array, Array]:
    """Return inputs (M, B, n_0) and one-hot targets (M, B, n_L) of the first minibatches.

    They are float32, gathered and scaled as in a step of hpcpgd.
    """
    network, batch = setting.network, setting.batch
    count = min(max(RING_EXAMPLES // batch, 1), setting.steps)
    train = setting.dataset.train
    work, sampler = Workspace(network, batch, 1), Sampler(train.rows, batch, SEED)
    scaling, numbers = scaling_of(setting.dataset, network.dtype), np.zeros(batch, np.int64)
    inputs = np.zeros((count, batch, network.widths[0]), np.float32)
    targets = np.zeros((count, batch, network.widths[-1]), np.float32)
    for step in range(count):
        sampler.numbers(1, step, numbers)
        load_rows(train, numbers, scaling, work)
        inputs[step] = work.inputs
        targets[step, np.arange(batch), work.labels] = 1
    return inputs, targets


def write_problem(path: Path, setting: Setting) -> None:
    """Write the initial weights and the minibatches."""
    inputs, targets = minibatches(setting)
    parts = setting.network.parts(setting.parameters()).values()
    arrays = dict(zip(_names(setting.network), parts, strict=True))
    np.savez(path, allow_pickle=False, inputs=inputs, targets=targets, **arrays)


def read_weights(path: Path, network: Network) -> Array:
    """Return the weights that a peer has written, as a flat vector of the network."""
    with np.load(path, allow_pickle=False) as file:
        return network.filled(file[name] for name in _names(network))


def _names(network: Network) -> list[str]:
    """Return ``weights1``, ``biases1``, ``weights2`` and so on."""
    return [f"{part}{n}" for n in range(1, network.depth + 1) for part in ("weights", "biases")]
