"""Compiled loops that update parameters by a gradient: one rule for each optimiser."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hpcpgd.kernels.core.arithmetic import denormals_as_zero, fma, set_float_mode
from hpcpgd.kernels.core.compiled import compiled, reassociated
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.optimisers import ADAM, EPSILON, NESTEROV, SGD, SQUARES


@reassociated()
def descend(parameters: Array, gradient: Array, rate: Any) -> bool:
    """Subtract ``rate * gradient`` from ``parameters`` in place, the update of algorithm 2.

    Returns
    -------
    bool
        False if the gradient holds NaN or Inf: ``0 * x`` is 0 only for finite ``x``.
    """
    probe = gradient.dtype.type(0)
    zero = gradient.dtype.type(0)
    for k in range(gradient.size):
        parameters[k] = fma(-rate, gradient[k], parameters[k])
        probe += gradient[k] * zero
    return probe == zero


@compiled()
def _descend(update: Any, parameters: Array, gradient: Array) -> None:
    """With weight decay, which ``descend`` lacks: ``p -= rate g``."""
    real = gradient.dtype.type
    rate, scale, decay = real(update.rate), real(update.scale), real(update.decay)
    for k in range(gradient.size):
        g = fma(decay, parameters[k], scale * gradient[k])
        parameters[k] = fma(-rate, g, parameters[k])


@compiled()
def _accelerate(update: Any, parameters: Array, gradient: Array, mean: Array) -> None:
    """``m = momentum m + g``, then ``p -= rate m``; Nesterov: ``p -= rate (g + momentum m)``."""
    real = gradient.dtype.type
    rate, scale, decay = real(update.rate), real(update.scale), real(update.decay)
    momentum = real(update.momentum)
    for k in range(gradient.size):
        g = fma(decay, parameters[k], scale * gradient[k])
        m = fma(momentum, mean[k], g)
        mean[k] = m
        move = fma(momentum, m, g) if update.rule == NESTEROV else m
        parameters[k] = fma(-rate, move, parameters[k])


@compiled()
def _adapt(update: Any, parameters: Array, gradient: Array, mean: Array, square: Array) -> None:
    """Adam: ``p = keep p - rate m / (correction sqrt(v) + EPSILON)``.

    Before, ``m = momentum m + (1 - momentum) g`` and ``v = SQUARES v + (1 - SQUARES) g²``.
    """
    real = gradient.dtype.type
    rate, scale, decay = real(update.rate), real(update.scale), real(update.decay)
    keep, momentum, correction = real(update.keep), real(update.momentum), real(update.correction)
    one, squares, epsilon = real(1), real(SQUARES), real(EPSILON)
    for k in range(gradient.size):
        g = fma(decay, parameters[k], scale * gradient[k])
        m = fma(momentum, mean[k], (one - momentum) * g)
        v = fma(squares, square[k], (one - squares) * (g * g))
        mean[k], square[k] = m, v
        step = rate * m / fma(correction, math.sqrt(v), epsilon)
        parameters[k] = fma(keep, parameters[k], -step)


@reassociated()
def _is_finite(gradient: Array) -> bool:
    probe = gradient.dtype.type(0)
    for k in range(gradient.size):
        probe += gradient[k] * gradient.dtype.type(0)
    return probe == gradient.dtype.type(0)


@compiled()
def sum_of_squares(vector: Array) -> float:
    """Return the sum of squares in float64; the size is a multiple of 4 and decides the order."""
    a = b = c = d = 0.0  # independent sums, as each addition waits for the one before
    for k in range(0, vector.size, 4):
        w, x = np.float64(vector[k]), np.float64(vector[k + 1])
        y, z = np.float64(vector[k + 2]), np.float64(vector[k + 3])
        a, b, c, d = a + w * w, b + x * x, c + y * y, d + z * z
    return (a + b) + (c + d)


@compiled()
def optimise(update: Any, parameters: Array, gradient: Array, states: Array, place: int) -> bool:
    """Update ``parameters`` in place; what the optimiser keeps of them begins at ``place``.

    In the rules p are the parameters, g is the scaled gradient plus the decay times p, and m
    and v are the rows of ``states``.  No operation of theirs may be reordered, or bits would
    depend on where the compiler inlines them; only the check for NaN and Inf is.

    Parameters
    ----------
    update : record with the fields of ``Update``
    parameters, gradient : ndarray, shape (size,)
    states : ndarray, shape (vectors, at least place + size)

    Returns
    -------
    bool
        False if the gradient holds NaN or Inf: ``0 * x`` is 0 only for finite ``x``.
    """
    end = place + gradient.size
    # Where a gradient stays 0, m shrinks by ``momentum`` a step and ends as a denormal for ever.
    mode = denormals_as_zero()
    if update.rule == SGD:
        _descend(update, parameters, gradient)
    elif update.rule == ADAM:
        _adapt(update, parameters, gradient, states[0][place:end], states[1][place:end])
    else:
        _accelerate(update, parameters, gradient, states[0][place:end])
    set_float_mode(mode)
    return _is_finite(gradient)
