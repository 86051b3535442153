"""The common base of the plans on a GPU: buffers, rows, scores, the update.

The order of a step is gather, forward, output, backward, update.  All methods put work in
the device's stream and return.  Only methods that say "waits" wait for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hpcpgd.kernels.core.elementwise import CORRECT, EXAMPLES, LOSS
from hpcpgd.kernels.core.network import (
    BIASES,
    FUNCTION,
    LOSS_CODES,
    ROWS,
    SLOPE,
    WEIGHTS,
    Array,
    Network,
)
from hpcpgd.kernels.core.workspace import TOTALS
from hpcpgd.kernels.device.cupy_device import C_TYPES, NULL, Buffer, Device

ROWS_A_BLOCK = 8  # as in output.cu
GATHER_THREADS = 128
THREADS = 256
NEVER = 2**64 - 1  # first_bad as long as no step is bad


@dataclass(frozen=True)
class DeviceRows:
    """The rows of a split on the device.

    Attributes
    ----------
    scale, offset : float
        Inputs are ``features * scale + offset``, in the run's number type.
    bits : int
        Width of the integers that the permutation of the rows works on.
    """

    rows: int
    features: Buffer
    labels: Buffer
    scale: np.floating
    offset: np.floating
    bits: int


class Move(NamedTuple):
    """How far a pass moves the device's position in the epoch."""

    rows: int
    ends: bool  # whether these rows end the slice, and so the step


class DevicePlan(ABC):
    """Forward and backward propagation of up to ``capacity`` rows on one GPU.

    Parameters
    ----------
    capacity : int
        Rows that the buffers hold.
    precision : str
        Precision of the products: ``float32``, ``tf32`` or ``float64``.
    """

    def __init__(self, network: Network, capacity: int, device: Device, precision: str) -> None:
        self.network, self.capacity, self.device = network, capacity, device
        self.precision = precision
        self.real = np.dtype(network.dtype)
        self.table = network.table(capacity)
        end = int(self.table[-1, ROWS]) + network.padded(capacity * network.widths[-1])
        self._activations = device.buffer(end, self.real)
        self._deltas = device.buffer(end - int(self.table[1, ROWS]), self.real)
        self._labels = device.buffer(capacity, np.int32)
        self._predicted = device.buffer(capacity, np.int32)
        self._totals = device.buffer(2 * capacity, np.float64)
        self._control = device.buffer(4, np.uint64)
        self._gather: dict[str, Any] = {}
        self._output = device.module("output.cu", REAL=C_TYPES[self.real.name])
        self._update = device.module("update.cu", REAL=C_TYPES[self.real.name])
        self.reset()

    def activations(self, layer: int) -> np.uint64:
        """Return the address of the rows of layer 0 … L, (capacity, n_l)."""
        return self._activations.at(int(self.table[layer, ROWS]))

    def delta(self, layer: int) -> np.uint64:
        """Return the address of the deltas of layer 1 … L, (capacity, n_l)."""
        return self._deltas.at(int(self.table[layer, ROWS] - self.table[1, ROWS]))

    def weights(self, flat: Buffer, layer: int) -> np.uint64:
        """Return the address of a layer's weights in a flat vector."""
        return flat.at(int(self.table[layer, WEIGHTS]))

    def biases(self, flat: Buffer, layer: int) -> np.uint64:
        """Return the address of a layer's biases in a flat vector."""
        return flat.at(int(self.table[layer, BIASES]))

    def function(self, layer: int) -> np.int32:
        """Return the code of a layer's activation."""
        return np.int32(self.table[layer, FUNCTION])

    def slope(self, layer: int) -> np.int32:
        """Return the code of the function whose derivative multiplies a layer's delta."""
        return np.int32(self.table[layer, SLOPE])

    def seek(self, key: int, position: int, step: int) -> None:
        """Set where the next slice begins: the key of the epoch's order, position and step."""
        self.device.write(self._control, np.array([key, position, step], np.uint64))

    def reset(self) -> None:
        """Clear the position, all totals and the record of NaN or Inf."""
        self.device.write(self._control, np.array([0, 0, 0, NEVER], np.uint64))
        self.device.clear(self._totals)

    def load_next(self, rows: DeviceRows, count: int) -> None:
        """Copy to the inputs the ``count`` rows at the position in the epoch's order."""
        self._load(rows, count, self._control.at(), 0)

    def load(self, rows: DeviceRows, first: int, count: int) -> None:
        """Copy rows ``first … first + count - 1`` to the inputs."""
        self._load(rows, count, NULL, first)

    def _load(self, rows: DeviceRows, count: int, control: np.uint64, first: int) -> None:
        name = rows.features.dtype.name
        if name not in self._gather:
            types = {"REAL": C_TYPES[self.real.name], "FEATURE": C_TYPES[name]}
            self._gather[name] = self.device.module("gather.cu", **types)
        self._gather[name].launch(
            "gather",
            count,
            GATHER_THREADS,
            *(rows.features.at(), rows.labels.at(), np.int64(rows.rows)),
            *(np.int32(self.network.widths[0]), np.int32(rows.bits), control, np.int64(first)),
            *(rows.scale, rows.offset, self.activations(0), self._labels.at()),
        )

    @abstractmethod
    def forward(self, parameters: Buffer, count: int) -> None:
        """Algorithm 3: activations of the hidden layers, and the input of `output_delta`."""

    @abstractmethod
    def layer_gradient(
        self, layer: int, parameters: Buffer, count: int, out: Buffer, add: bool
    ) -> None:
        """One layer of algorithm 4: its delta, unless it is the output, and sums ∂W and ∂b."""

    @abstractmethod
    def rest_of_output(self, parameters: Buffer) -> tuple[np.uint64, np.int32]:
        """Return biases and function of the output layer that ``forward`` has not applied."""

    def gradient(
        self, parameters: Buffer, count: int, out: Buffer, add: bool, move: Move | None = None
    ) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and add their scores.

        The position advances by ``move``, by default by ``count`` rows and one step.
        """
        self.output_delta(parameters, count, move or Move(count, True))
        for layer in range(self.network.depth, 0, -1):
            self.layer_gradient(layer, parameters, count, out, add)

    def output_delta(self, parameters: Buffer, count: int, move: Move) -> None:
        """Compute forward, scores and the output layer's delta for the first ``count`` rows."""
        self.forward(parameters, count)
        self._finish(parameters, count, self.delta(self.network.depth), move)

    def evaluate(self, parameters: Buffer, count: int) -> None:
        """Predict the first ``count`` rows and add their loss and correct answers to the totals."""
        self.forward(parameters, count)
        self._finish(parameters, count, NULL, None)

    def _finish(self, parameters: Buffer, count: int, delta: np.uint64, move: Move | None) -> None:
        last = self.network.depth
        control = NULL if move is None else self._control.at()
        advance, ends = move or (0, False)
        biases, function = self.rest_of_output(parameters)
        self._output.launch(
            "output_delta",
            -(-count // ROWS_A_BLOCK),
            32 * ROWS_A_BLOCK,
            *(self.activations(last), biases, self._labels.at(), self._predicted.at()),
            *(self._totals.at(), delta, np.int64(count), np.int32(self.network.widths[-1])),
            *(function, self.slope(last), np.int32(LOSS_CODES[self.network.loss])),
            *(control, np.int64(advance), np.int32(ends)),
        )

    def update(self, parameters: Buffer, gradient: Buffer, rate: float) -> None:
        """Subtract ``rate * gradient``; the first step with NaN or Inf is recorded."""
        self._update.launch(
            "update",
            -(-parameters.size // (4 * THREADS)),
            THREADS,
            *(parameters.at(), gradient.at(), np.int64(parameters.size)),
            *(self.real.type(rate), self._control.at()),
        )

    def first_bad(self) -> int | None:
        """Return the first step since ``reset`` with NaN or Inf in its gradient; waits."""
        step = int(self.device.read(self._control, 4)[3])
        return None if step == NEVER else step

    def predicted(self, count: int) -> Array:
        """Return the classes predicted for the first ``count`` rows, int32; waits."""
        return self.device.read(self._predicted, count)

    def take_totals(self, examples: int) -> Array:
        """Return loss, correct answers and ``examples``, float64 (8,), and clear them; waits.

        Each row of the buffers has separate totals, which are summed here.  So the order of
        GPU threads does not change the sums.
        """
        out = self.totals(examples)
        self.device.clear(self._totals)
        return out

    def totals(self, examples: int) -> Array:
        """Return the same as ``take_totals``, but do not clear the totals; waits."""
        rows = self.device.read(self._totals, 2 * self.capacity).reshape(-1, 2)
        out = np.zeros(TOTALS)
        out[[LOSS, CORRECT]] = rows.sum(axis=0)
        out[EXAMPLES] = examples
        return out
