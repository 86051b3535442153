"""Initial weights and the fingerprint of the parameters."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from hpcpgd.engines.parameters import initial_parameters, params_sha256
from hpcpgd.kernels.core.network import Network


def test_glorot_uniform_weights_and_zero_biases() -> None:
    net = Network((784, 256, 10), "float64")
    flat = initial_parameters(net, 3)
    for layer, (fan_in, fan_out) in enumerate([(784, 256), (256, 10)], 1):
        weights, limit = net.weights(flat, layer), np.sqrt(6 / (fan_in + fan_out))
        assert np.abs(weights).max() <= limit
        assert np.abs(weights).max() > 0.99 * limit
        # Mean and variance of a uniform distribution, within five standard errors.
        n = weights.size
        assert abs(weights.mean()) < 5 * limit / np.sqrt(3 * n)
        assert abs(weights.var() / (limit**2 / 3) - 1) < 5 * np.sqrt(0.8 / n)
        assert not net.biases(flat, layer).any()


def test_seeds_and_layers_differ_and_number_types_agree() -> None:
    net = Network((16, 16, 16), "float64")
    flat = initial_parameters(net, 0)
    assert not np.array_equal(net.weights(flat, 1), net.weights(flat, 2))
    assert not np.array_equal(flat, initial_parameters(net, 1))
    single = Network((16, 16, 16), "float32")
    narrow = initial_parameters(single, 0)
    exact = net.weights(flat, 1).astype(np.float32)
    assert np.array_equal(single.weights(narrow, 1), exact)


def test_params_sha256_by_hand() -> None:
    """Weights in C order then biases, little-endian, no padding."""
    net = Network((2, 3, 1), "float32")
    flat = net.zeros()
    numbers = iter(range(1, 100))
    stream = []
    for layer in (1, 2):
        for part in (net.weights(flat, layer), net.biases(flat, layer)):
            values = [float(next(numbers)) for _ in range(part.size)]
            part[...] = np.reshape(values, part.shape)
            stream += values
    expected = hashlib.sha256(struct.pack(f"<{len(stream)}f", *stream)).hexdigest()
    assert params_sha256(net, flat) == expected
