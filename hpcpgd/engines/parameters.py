"""The model: its network, its initial parameters and their SHA-256."""

from __future__ import annotations

import hashlib

import numpy as np

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data.rng_streams import STREAM_WEIGHTS
from hpcpgd.kernels.core.network import Array, Network

BLOCK = 2**16  # weights drawn at a time


def make_network(config: RunConfig, n_in: int, n_out: int) -> Network:
    """Return the configured network between ``n_in`` inputs and ``n_out`` outputs."""
    return Network(
        widths=(n_in, *config.hidden, n_out),
        dtype=config.dtype,
        activation=config.activation,
        output_activation=config.output_activation,
        loss=config.loss,
        regression=config.task == "regression",
    )


def uniform(bits: np.random.Philox, count: int) -> Array:
    """Return the next ``count`` numbers in [0, 1), float64, of a stream of bits.

    NumPy keeps the bits of its counter-based generators stable, but not its
    distributions (NEP 19).  So this function makes the numbers from the bits.
    """
    return (bits.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def initial_parameters(network: Network, seed: int, init: str = "glorot") -> Array:
    """Return uniform weights and zero biases, a flat vector of shape (size,).

    Weights are uniform in ±sqrt(6 / (fan_in + fan_out)) for ``init`` "glorot", in
    ±sqrt(6 / fan_in) for "he", and a pure function of seed and layer.  They are drawn in float64
    and rounded, so that float32 and float64 runs begin at the same point.  Blocks avoid a second
    copy of all weights.
    """
    flat = network.zeros()
    for layer in range(1, network.depth + 1):
        fan_in, fan_out = network.widths[layer - 1 : layer + 1]
        limit = np.sqrt(6.0 / (fan_in if init == "he" else fan_in + fan_out))
        bits = np.random.Philox(key=[seed, STREAM_WEIGHTS * 2**32 + layer])
        flat_weights = network.weights(flat, layer).reshape(-1)
        for begin in range(0, flat_weights.size, BLOCK):
            block = flat_weights[begin : begin + BLOCK]
            block[:] = (2.0 * uniform(bits, block.size) - 1.0) * limit
    return flat


def params_sha256(network: Network, flat: Array) -> str:
    """Return the SHA-256 of the parameters.

    Layers in order, weights in C order then biases, little-endian, no padding.
    """
    digest = hashlib.sha256()
    little = np.dtype(network.dtype).newbyteorder("<")
    for part in network.parts(flat).values():
        digest.update(np.ascontiguousarray(part, little).data)
    return digest.hexdigest()
