"""Activation functions and their derivatives, for use inside compiled loops.

The exponential is a polynomial that LLVM vectorises; libm's ``exp`` in a loop would take
a third of a step.  With ``x = n ln 2 + r``, ``|r| <= ln(2)/2``, ``exp(x)`` is the
Taylor polynomial of ``exp(r)``, scaled by ``2**n`` through the exponent bits.  The largest
relative error is 2e-7 in float32 and 4e-16 in float64, measured against wider arithmetic by
``tests/kernels/test_activations.py``.  NaN stays NaN: no compiler flag assumes that NaN or Inf
do not occur.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from hpcpgd.kernels.core.arithmetic import fma
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import GELU, RELU, SIGMOID, TANH, Array


def _exp32(x: Any) -> Any:
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    x = np.float32(88.0) if x > np.float32(88.0) else x
    # Adding 1.5 * 2**23 rounds to the nearest integer and leaves it in the low bits.
    shifted = fma(x, np.float32(1.4426950408889634), np.float32(12582912.0))
    n = shifted - np.float32(12582912.0)
    r = fma(n, np.float32(2.12194440e-4), fma(n, np.float32(-0.693359375), x))
    p = np.float32(1.0 / 5040.0)
    p = fma(p, r, np.float32(1.0 / 720.0))
    p = fma(p, r, np.float32(1.0 / 120.0))
    p = fma(p, r, np.float32(1.0 / 24.0))
    p = fma(p, r, np.float32(1.0 / 6.0))
    p = fma(p, r, np.float32(0.5))
    p = fma(p, r, np.float32(1.0))
    p = fma(p, r, np.float32(1.0))
    bits = np.int32(np.float32(shifted).view(np.int32) + np.int32(127 - 0x4B400000))
    return p * np.int32(bits << np.int32(23)).view(np.float32)


def _exp64(x: Any) -> Any:
    x = -708.0 if x < -708.0 else x
    x = 709.0 if x > 709.0 else x
    shifted = fma(x, 1.4426950408889634, 6755399441055744.0)
    n = shifted - 6755399441055744.0
    r = fma(n, -1.90821492927058770002e-10, fma(n, -6.93147180369123816490e-01, x))
    p = 1.0 / 6227020800.0
    p = fma(p, r, 1.0 / 479001600.0)
    p = fma(p, r, 1.0 / 39916800.0)
    p = fma(p, r, 1.0 / 3628800.0)
    p = fma(p, r, 1.0 / 362880.0)
    p = fma(p, r, 1.0 / 40320.0)
    p = fma(p, r, 1.0 / 5040.0)
    p = fma(p, r, 1.0 / 720.0)
    p = fma(p, r, 1.0 / 120.0)
    p = fma(p, r, 1.0 / 24.0)
    p = fma(p, r, 1.0 / 6.0)
    p = fma(p, r, 0.5)
    p = fma(p, r, 1.0)
    p = fma(p, r, 1.0)
    bits = np.float64(shifted).view(np.int64) + np.int64(1023 - 0x4338000000000000)
    return p * np.int64(bits << np.int64(52)).view(np.float64)


def exp(x: float) -> float:
    """Compute the exponential; in compiled code this is the module's polynomial."""
    return math.exp(x)


@overload(exp)
def _exp(x: Any) -> Any:
    return _exp32 if x == types.float32 else _exp64


# gelu(z) = z / (1 + exp(-2 u)) with u = sqrt(2 / pi) (z + CUBE z³), its form with tanh.
TWICE, CUBE = 2 * math.sqrt(2 / math.pi), 0.044715
FAR = 16.0  # beyond ±FAR its derivative is 1 or 0, below -FAR its value 0; z² might overflow


@compiled()
def activate(code: int, z: Array, kept: Array) -> None:
    """Apply the activation ``code`` in place to a vector of pre-activations, eq. (5).

    For gelu alone ``kept`` receives the pre-activations; it may be ``z`` itself where no
    derivative will be needed.
    """
    one = z.dtype.type(1)
    if code == SIGMOID:
        for j in range(z.size):
            z[j] = one / (one + exp(-z[j]))
    elif code == TANH:
        for j in range(z.size):
            z[j] = math.tanh(z[j])
    elif code == RELU:
        for j in range(z.size):
            # A comparison with NaN is false: in this form NaN is kept.
            z[j] = z.dtype.type(0) if z[j] < z.dtype.type(0) else z[j]
    elif code == GELU:
        twice, cube, far = z.dtype.type(TWICE), z.dtype.type(CUBE), z.dtype.type(FAR)
        for j in range(z.size):
            kept[j] = z[j]
            x = -far if z[j] < -far else z[j]
            z[j] = x / (one + exp(-twice * fma(cube * x, x * x, x)))


@compiled()
def multiply_by_slope(code: int, a: Array, delta: Array) -> None:
    """Multiply ``delta`` in place by the derivative at activations ``a``; both are vectors.

    The derivative is a function of the activation, so pre-activations need not be kept.  That
    of gelu is not: here ``a`` are its pre-activations.
    """
    one = a.dtype.type(1)
    if code == SIGMOID:
        for j in range(a.size):
            delta[j] *= a[j] * (one - a[j])
    elif code == TANH:
        for j in range(a.size):
            delta[j] *= one - a[j] * a[j]
    elif code == RELU:
        for j in range(a.size):
            delta[j] = delta[j] if a[j] > 0 else delta[j] * (a[j] * a.dtype.type(0))
    elif code == GELU:
        twice, cube, far = a.dtype.type(TWICE), a.dtype.type(CUBE), a.dtype.type(FAR)
        for j in range(a.size):
            x = far if a[j] > far else a[j]
            x = -far if x < -far else x
            gate = one / (one + exp(-twice * fma(cube * x, x * x, x)))
            rise = twice * fma(a.dtype.type(3) * cube * x, x, one)
            delta[j] *= fma(x * gate * (one - gate), rise, gate)


@compiled()
def softmax(z: Array) -> None:
    """Replace a vector of pre-activations by its softmax, in place."""
    largest = z[0]
    for j in range(1, z.size):
        if z[j] > largest:
            largest = z[j]
    total = z.dtype.type(0)
    for j in range(z.size):
        z[j] = exp(z[j] - largest)
        total += z[j]
    for j in range(z.size):
        z[j] /= total
