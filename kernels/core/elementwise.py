"""Compiled loops over the rows of a minibatch, shared by the backends.

Letters: B rows, I fan_in, O fan_out.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from hpcpgd.kernels.core.activations import activate, multiply_by_slope, softmax
from hpcpgd.kernels.core.arithmetic import prefetch
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import MSE, SOFTMAX, Array

AHEAD = 4  # rows from the one that is copied to the one that is prefetched
CACHE_LINE = 64  # bytes

# Indices into a vector of totals, float64; counts are exact below 2**53.
LOSS, CORRECT, EXAMPLES = range(3)
NOTHING, ACTIVATION, DERIVATIVE = range(3)  # kinds of completion


@compiled()
def gather(features: Array, numbers: Array, scale: Any, offset: Any, out: Array) -> None:
    """Copy rows ``numbers`` of ``features`` to ``out`` as numbers ``x * scale + offset``.

    Parameters
    ----------
    features : ndarray of uint8, float32 or float64, shape (rows, I)
    numbers : ndarray of int64, shape (B,)
    scale, offset : float
        Numbers of the dtype of ``out``.
    out : ndarray of float32 or float64, shape (at least B, I)
    """
    nbytes = features.shape[1] * features.itemsize
    for i in range(numbers.size):
        if i + AHEAD < numbers.size:
            # Rows are far apart in memory: without a prefetch each would wait for it.
            begin = features.ctypes.data + numbers[i + AHEAD] * nbytes
            for line in range(0, nbytes, CACHE_LINE):
                prefetch(np.uintp(begin + line))
        row = features[numbers[i]]
        target = out[i]
        for j in range(row.size):
            target[j] = target.dtype.type(row[j]) * scale + offset


@compiled()
def gather_labels(labels: Array, numbers: Array, out: Array) -> None:
    """Copy ``labels[numbers]`` to ``out``: classes (B,), or for regression targets (B, O)."""
    for i in range(numbers.size):
        if labels.ndim == 1:  # the compiler removes the branch that does not apply
            out[i] = labels[numbers[i]]
        else:
            for j in range(labels.shape[1]):
                out[i, j] = labels[numbers[i], j]


@compiled()
def add_bias_and_activate(
    code: int, biases: Array, z: Array, kept: Array, begin: int, end: int
) -> None:
    """Turn products ``z`` (B, O) into activations, in place: eq. (4)'s bias, then eq. (5).

    Only columns ``begin … end - 1``; softmax needs all columns.  ``biases`` is (O,), and
    ``kept`` (B, O) is as in ``activate``.
    """
    block = biases[begin:end]
    for i in range(z.shape[0]):
        row = z[i][begin:end]  # contiguous, unlike a block of columns of z
        for j in range(row.size):
            row[j] += block[j]
        if code == SOFTMAX:
            softmax(row)
        else:
            activate(code, row, kept[i][begin:end])


@compiled()
def output_delta(slope: int, a: Array, labels: Array, delta: Array) -> None:
    """Compute delta (B, O) of the output layer, algorithm 4: ``(a - y) * f'(z)``.

    ``y`` is the one-hot vector of the label, or the targets of a regression, ``labels`` (B, O);
    this is the gradient of half the squared error.
    """
    one = a.dtype.type(1)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            delta[i, j] = a[i, j]
        if labels.ndim == 1:
            delta[i, labels[i]] -= one
        else:
            for j in range(a.shape[1]):
                delta[i, j] -= labels[i, j]
        multiply_by_slope(slope, a[i], delta[i])


@compiled()
def hidden_delta(slope: int, a: Array, delta: Array, begin: int, end: int) -> None:
    """Multiply back-propagated errors ``delta`` (B, O) by ``f'(z)``, in place.

    Only columns ``begin … end - 1``; ``a`` (B, O) are what the layer kept (``kept_of``).
    """
    for i in range(a.shape[0]):
        multiply_by_slope(slope, a[i][begin:end], delta[i][begin:end])


class Completion(NamedTuple):
    """What completes a product ``out[:, begin:]`` of a layer, block by block.

    Attributes
    ----------
    kind : int
        ``NOTHING``; ``ACTIVATION``, with ``biases``; or ``DERIVATIVE``.
    code : int
        Of the activation function, or of its derivative.
    biases, out, kept : ndarray
        As ``biases``, ``z`` and ``kept`` of ``add_bias_and_activate``, or as ``delta`` and ``a``
        of ``hidden_delta``.
    begin : int
        The first column of the product.
    """

    kind: int
    code: int
    biases: Array
    out: Array
    kept: Array
    begin: int


@compiled()
def complete(task: Completion, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Complete ``rows`` and ``columns`` of a product, which are (start, stop)."""
    if task.kind != NOTHING:
        begin, end = task.begin + columns[0], task.begin + columns[1]
        out, kept = task.out[rows[0] : rows[1]], task.kept[rows[0] : rows[1]]
        if task.kind == ACTIVATION:
            add_bias_and_activate(task.code, task.biases, out, kept, begin, end)
        else:
            hidden_delta(task.code, kept, out, begin, end)


@compiled()
def column_sums(delta: Array, begin: int, out: Array) -> bool:
    """Sum ``out.size`` columns of ``delta`` (B, O), from ``begin`` on, over the rows into ``out``.

    Returns
    -------
    bool
        False if a sum is NaN or Inf: ``0 * x`` is 0 only for finite ``x``.
    """
    for j in range(out.size):
        out[j] = out.dtype.type(0)
    for i in range(delta.shape[0]):
        row = delta[i][begin : begin + out.size]
        for j in range(out.size):
            out[j] += row[j]
    probe = out.dtype.type(0)
    for j in range(out.size):
        probe += out[j] * out.dtype.type(0)
    return probe == out.dtype.type(0)


@compiled()
def _row_loss(loss: int, softmaxed: bool, a: Array, label: int) -> float:
    """Loss of one example in float64: eq. (6), or cross-entropy.

    Outputs are rounded.  In cross-entropy, an output that is rounded to 1 counts as half a
    rounding step below 1 (a loss of 17.3 in float32, 37.4 in float64).  An output below the
    smallest normal number counts as that number (87.3 or 708.4), so that the loss is the same
    where the processor rounds denormals to zero and where it keeps them.
    """
    total = 0.0
    tiny = 2.0**-126 if a.itemsize == 4 else 2.0**-1022
    step = 2.0**-25 if a.itemsize == 4 else 2.0**-54
    if loss == MSE:
        for j in range(a.size):
            error = (1.0 if j == label else 0.0) - float(a[j])
            total += error * error
    elif softmaxed:
        total = -math.log(max(float(a[label]), tiny))
    else:
        for j in range(a.size):
            hit = max(float(a[j]), tiny) if j == label else max(1.0 - float(a[j]), step)
            total -= math.log(hit)
    return total


@compiled()
def score(
    loss: int, function: int, a: Array, labels: Array, predicted: Array, totals: Array
) -> None:
    """Add loss, correct answers and examples of outputs ``a`` (B, O) to ``totals`` (8,).

    ``predicted`` (B,) receives the class with the largest output, the first of equal ones.
    For a regression, with targets ``labels`` (B, O), no answer is correct, and only the
    squared error counts.
    """
    for i in range(a.shape[0]):
        totals[EXAMPLES] += 1.0
        if labels.ndim == 2:
            for j in range(a.shape[1]):
                error = float(labels[i, j]) - float(a[i, j])
                totals[LOSS] += error * error
            continue
        best = 0
        for j in range(1, a.shape[1]):
            if a[i, j] > a[i, best]:
                best = j
        predicted[i] = best
        totals[LOSS] += _row_loss(loss, function == SOFTMAX, a[i], labels[i])
        totals[CORRECT] += 1.0 if best == labels[i] else 0.0


@compiled()
def copy(a: Array, out: Array) -> None:
    """Copy vector ``a`` to ``out``."""
    for k in range(out.size):
        out[k] = a[k]


@compiled()
def add(a: Array, b: Array) -> None:
    """Add vector ``b`` to ``a`` in place."""
    # From 0: an index that might be negative would prevent vector instructions.
    for k in range(a.size):
        a[k] += b[k]
