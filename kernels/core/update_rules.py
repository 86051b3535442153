"""Compiled loops that update parameters by a gradient: one rule for each optimiser."""

from __future__ import annotations

import math
from typing import Any

from hpcpgd.kernels.core.arithmetic import fma
from hpcpgd.kernels.core.compiled import reassociated
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


@reassociated()
def optimise(update: Any, parameters: Array, gradient: Array, states: Array, place: int) -> bool:
    """Update ``parameters`` in place; the optimiser's numbers of them begin at ``place``.

    With g the scaled gradient and decay, p the parameters, m and v the rows of ``states``:

    - sgd: ``p -= rate g``
    - momentum: ``m = momentum m + g``, ``p -= rate m``
    - nesterov: ``m`` as before, ``p -= rate (g + momentum m)``
    - adam: ``m = momentum m + (1 - momentum) g``, ``v = SQUARES v + (1 - SQUARES) g²``,
      ``p = keep p - rate m / (correction sqrt(v) + EPSILON)``

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
    real = gradient.dtype.type
    zero, one = real(0), real(1)
    rate, scale, decay, keep = (
        real(update.rate),
        real(update.scale),
        real(update.decay),
        real(update.keep),
    )
    momentum, correction = real(update.momentum), real(update.correction)
    squares, epsilon = real(SQUARES), real(EPSILON)
    probe = zero
    if update.rule == SGD:
        for k in range(gradient.size):
            g = fma(decay, parameters[k], scale * gradient[k])
            parameters[k] = fma(-rate, g, parameters[k])
            probe += gradient[k] * zero
    elif update.rule == ADAM:
        mean, square = (
            states[0][place : place + gradient.size],
            states[1][place : place + gradient.size],
        )
        for k in range(gradient.size):
            g = fma(decay, parameters[k], scale * gradient[k])
            m = fma(momentum, mean[k], (one - momentum) * g)
            v = fma(squares, square[k], (one - squares) * (g * g))
            mean[k], square[k] = m, v
            step = rate * m / fma(correction, math.sqrt(v), epsilon)
            parameters[k] = fma(keep, parameters[k], -step)
            probe += gradient[k] * zero
    else:
        mean = states[0][place : place + gradient.size]
        for k in range(gradient.size):
            g = fma(decay, parameters[k], scale * gradient[k])
            m = fma(momentum, mean[k], g)
            mean[k] = m
            move = fma(momentum, m, g) if update.rule == NESTEROV else m
            parameters[k] = fma(-rate, move, parameters[k])
            probe += gradient[k] * zero
    return probe == zero
