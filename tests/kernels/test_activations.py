"""The vectorised exponential and the activations against NumPy and math."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from hpcpgd.kernels.core import activations
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import GELU, LINEAR, RELU, SIGMOID, TANH, Array


@compiled()
def exponentials(x: Array, out: Array) -> None:
    for i in range(x.size):
        out[i] = activations.exp(x[i])


@pytest.mark.parametrize(("dtype", "limit", "bound"), [("f4", 87, 2e-7), ("f8", 708, 4e-16)])
def test_exp_keeps_its_stated_accuracy(dtype: str, limit: float, bound: float) -> None:
    x = np.linspace(-limit, limit, 400_001).astype(dtype)
    out = np.empty_like(x)
    exponentials(x, out)
    exact = np.exp(x.astype(np.longdouble))
    assert np.max(np.abs(out - exact) / exact) < bound


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_exp_at_the_edges(dtype: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0], dtype)
    out = np.empty_like(x)
    exponentials(x, out)
    assert np.isnan(out[0])
    assert out[1] > np.finfo(dtype).max / 10
    assert 0 <= out[2] < 1e-37
    assert out[3] == 1


FUNCTIONS: dict[int, Callable[[float], float]] = {
    SIGMOID: lambda z: 1 / (1 + math.exp(-z)),
    TANH: math.tanh,
    RELU: lambda z: max(z, 0.0),
    LINEAR: lambda z: z,
    GELU: lambda z: z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
}


@pytest.mark.parametrize("code", FUNCTIONS)
@pytest.mark.parametrize(("dtype", "bound"), [("f4", 3e-7), ("f8", 1e-15)])
def test_activations_and_slopes(code: int, dtype: str, bound: float) -> None:
    z = np.linspace(-8, 8, 331).astype(dtype)
    exact = np.array([FUNCTIONS[code](float(v)) for v in z])
    a, kept = z.copy(), z.copy()
    activations.activate(code, a, kept)
    np.testing.assert_allclose(a, exact, rtol=bound, atol=bound)
    h = 1e-6
    slopes = np.array(
        [(FUNCTIONS[code](float(v) + h) - FUNCTIONS[code](float(v) - h)) / (2 * h) for v in z]
    )
    away = np.abs(z) > 1e-3  # relu has no slope at 0
    delta = np.ones_like(z)
    activations.multiply_by_slope(code, kept if code == GELU else a, delta)
    np.testing.assert_allclose(delta[away], slopes[away], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("code", FUNCTIONS)
def test_nan_stays_nan(code: int) -> None:
    a = np.array([np.nan, 0.25])
    activations.activate(code, a, a)
    delta = np.ones(2)
    activations.multiply_by_slope(code, a, delta)
    assert np.isnan(a[0])
    assert not np.isnan(a[1])
    assert code == LINEAR or np.isnan(delta[0])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_gelu_far_from_zero(dtype: str) -> None:
    z = np.array([-1e30, -40, 40, 1e30], dtype)
    a, kept, delta = z.copy(), np.zeros(4, dtype), np.ones(4, dtype)
    activations.activate(GELU, a, kept)
    np.testing.assert_allclose(a, [0, 0, 40, z[3]], atol=1e-30)
    activations.multiply_by_slope(GELU, kept, delta)
    np.testing.assert_allclose(delta, [0, 0, 1, 1], atol=1e-30)


def test_softmax() -> None:
    z = np.array([1000.0, 1001.0, 999.0])
    activations.softmax(z)
    e = np.exp([-1.0, 0.0, -2.0])
    np.testing.assert_allclose(z, e / e.sum(), rtol=1e-14)
