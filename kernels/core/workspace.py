"""The buffers of a backend, allocated once, before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpcpgd.kernels.core.network import KEPT, LOSS_CODES, ROWS, Array, Network, aligned_zeros

Allocate = Callable[[int, npt.DTypeLike], Array]
TOTALS = 8  # float64 numbers of a row of totals, one cache line: threads share none


class Buffers(NamedTuple):
    """The buffers of a ``Workspace``, for compiled code."""

    table: Array
    activations: Array
    deltas: Array
    labels: Array
    predicted: Array
    totals: Array
    loss: int


@dataclass
class Workspace:
    """Inputs, activations and deltas of up to ``capacity`` examples.

    Attributes
    ----------
    table : ndarray of int64, shape (L + 1, 7)
        The network for compiled code (``Network.table``).
    activations, deltas : ndarray, flat
        The rows of layer ``l`` begin at ``table[l, ROWS]`` in ``activations``.  They begin at
        ``table[l, ROWS] - table[1, ROWS]`` in ``deltas``, as the input has no delta.
    labels : ndarray of int32, shape (capacity,), or of the network's dtype, (capacity, O)
        Classes, or the targets of a regression.
    predicted : ndarray of int32, shape (capacity,)
    totals : ndarray of float64, shape (threads, 8)
        Loss, correct answers and examples since the last ``take_totals``.
    allocate : callable
        Takes a size and a dtype, returns zeros: for activations, deltas and labels.
    """

    network: Network
    capacity: int
    threads: int
    allocate: Allocate = aligned_zeros
    table: Array = field(init=False)
    activations: Array = field(init=False)
    deltas: Array = field(init=False)
    labels: Array = field(init=False)
    predicted: Array = field(init=False)
    totals: Array = field(init=False)

    def __post_init__(self) -> None:
        network = self.network
        self.table = network.table(self.capacity)
        sizes = np.array([network.padded(self.capacity * width) for width in network.widths])
        self.activations = self.allocate(int((self.table[:, KEPT] + sizes).max()), network.dtype)
        self.deltas = self.allocate(int(sizes[1:].sum()), network.dtype)
        targets = network.widths[-1]
        if network.regression:
            numbers = self.allocate(self.capacity * targets, network.dtype)
            self.labels = numbers.reshape(self.capacity, targets)
        else:
            self.labels = self.allocate(self.capacity, np.int32)
        self.predicted = np.zeros(self.capacity, np.int32)
        self.totals = np.zeros((self.threads, TOTALS))

    @property
    def buffers(self) -> Buffers:
        """The buffers as compiled code takes them."""
        rows = (self.activations, self.deltas, self.labels, self.predicted)
        return Buffers(self.table, *rows, self.totals, LOSS_CODES[self.network.loss])

    @property
    def inputs(self) -> Array:
        """The rows of a minibatch, shape (capacity, n_0)."""
        return self.layer(0)

    def layer(self, layer: int) -> Array:
        """Return the activations of layer 0 … L, shape (capacity, n_l)."""
        return self._view(self.activations, int(self.table[layer, ROWS]), layer)

    def kept(self, layer: int) -> Array:
        """Return what the derivative of layer 1 … L is computed from, (capacity, n_l)."""
        return self._view(self.activations, int(self.table[layer, KEPT]), layer)

    def delta(self, layer: int) -> Array:
        """Return the deltas of layer 1 … L, shape (capacity, n_l)."""
        begin = int(self.table[layer, ROWS] - self.table[1, ROWS])
        return self._view(self.deltas, begin, layer)

    def take_totals(self) -> Array:
        """Return loss, correct answers and examples, float64 (8,), and set them to 0."""
        total: Array = self.totals.sum(axis=0)
        self.totals[:] = 0
        return total

    def _view(self, flat: Array, begin: int, layer: int) -> Array:
        width = self.network.widths[layer]
        return flat[begin : begin + self.capacity * width].reshape(self.capacity, width)
