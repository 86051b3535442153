"""Backend ``cuda``: cuBLAS for the products, fused CUDA kernels for the rest.

Letters: B rows, I fan_in, O fan_out.
"""

from __future__ import annotations

import numpy as np

from hpcpgd.kernels.core.network import LINEAR, Network
from hpcpgd.kernels.device.cublas import product
from hpcpgd.kernels.device.cupy_device import C_TYPES, Buffer, Device
from hpcpgd.kernels.device.device_plan import THREADS, DevicePlan

COLUMNS = 32  # columns of a block, as in cuda.cu
# Rows of a block: few if the minibatch is small, so that all multiprocessors have work.
FEW_ROWS, SMALL_CHUNK, CHUNK = 1024, 32, 256


def _chunk(count: int) -> int:
    """Return the rows of a block; only ``count`` may decide, as the order of sums depends on it."""
    return SMALL_CHUNK if count <= FEW_ROWS else CHUNK


class Plan(DevicePlan):
    """Forward and backward propagation of up to ``capacity`` rows on one GPU."""

    def __init__(self, network: Network, capacity: int, device: Device, precision: str) -> None:
        super().__init__(network, capacity, device, precision)
        self._module = device.module("cuda.cu", REAL=C_TYPES[network.dtype])
        widest = max(network.widths[1:])
        chunks = max(-(-count // _chunk(count)) for count in (min(capacity, FEW_ROWS), capacity))
        self._partial = device.buffer(chunks * widest, self.real)
        self._tickets = device.buffer(-(-widest // COLUMNS), np.uint32)

    def forward(self, parameters: Buffer, count: int) -> None:
        """Algorithm 3: activations of the hidden layers, products of the output layer."""
        widths = self.network.widths
        for l in range(1, self.network.depth + 1):
            # (B, O) = (B, I) (I, O)
            operands = (self.activations(l - 1), self.weights(parameters, l), self.activations(l))
            self._gemm((False, False), (count, widths[l], widths[l - 1]), operands, False)
            if l < self.network.depth:
                self._module.launch(
                    "add_bias_and_activate",
                    self._blocks(count, widths[l]),
                    THREADS,
                    *(self.activations(l), self.biases(parameters, l)),
                    *(np.int64(count), np.int32(widths[l]), np.int32(_chunk(count))),
                    self.function(l),
                )

    def rest_of_output(self, parameters: Buffer) -> tuple[np.uint64, np.int32]:
        """Return the output layer's biases and function."""
        last = self.network.depth
        return self.biases(parameters, last), self.function(last)

    def layer_gradient(
        self, layer: int, parameters: Buffer, count: int, out: Buffer, add: bool
    ) -> None:
        """One layer of algorithm 4: its delta, unless it is the output, and sums ∂W and ∂b."""
        l, widths, slope = layer, self.network.widths, np.int32(LINEAR)
        if l < self.network.depth:
            # (B, I) = (B, O) (O, I), of the layer above
            operands = (self.delta(l + 1), self.weights(parameters, l + 1), self.delta(l))
            self._gemm((False, True), (count, widths[l], widths[l + 1]), operands, False)
            slope = self.slope(l)
        self._bias_gradient(l, count, slope, out, add)
        # (I, O) = (I, B) (B, O)
        operands = (self.activations(l - 1), self.delta(l), self.weights(out, l))
        self._gemm((True, False), (widths[l - 1], widths[l], count), operands, add)

    def _bias_gradient(
        self, layer: int, count: int, slope: np.int32, out: Buffer, add: bool
    ) -> None:
        """Multiply a layer's deltas by the slope and sum them over the rows."""
        width = self.network.widths[layer]
        self._module.launch(
            "delta_and_bias_gradient",
            self._blocks(count, width),
            THREADS,
            *(self.activations(layer), self.delta(layer), np.int64(count), np.int32(width)),
            *(np.int32(_chunk(count)), slope, self._partial.at(), self._tickets.at()),
            *(self.biases(out, layer), np.int32(add)),
        )

    def _blocks(self, count: int, width: int) -> int:
        return -(-count // _chunk(count)) * -(-width // COLUMNS)

    def _gemm(
        self,
        transposed: tuple[bool, bool],
        shape: tuple[int, int, int],
        operands: tuple[np.uint64, np.uint64, np.uint64],
        add: bool,
    ) -> None:
        beta = 1.0 if add else 0.0
        self.device.gemm(product(transposed, shape, operands, beta, self.precision))
