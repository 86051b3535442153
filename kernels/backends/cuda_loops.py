"""Backend ``cuda-loops``: CUDA kernels without a library, the paper's GPU Parallel.

Five kernels make a step: forward, output delta, hidden delta, weight gradient (with the
bias gradient, summed over the minibatch) and update.

Letters: B rows, I fan_in, O fan_out.
"""

from __future__ import annotations

import numpy as np

from hpcpgd.kernels.core.network import LINEAR, SOFTMAX, Network
from hpcpgd.kernels.device.cupy_device import C_TYPES, NULL, Buffer, Device
from hpcpgd.kernels.device.device_plan import THREADS, DevicePlan

SIDE = 16  # a block has 16 x 16 threads, each of which computes MICRO x MICRO outputs
# Possible values of MICRO.  8 x 8 in float64 does not fit in registers.
MICROS = {"float32": (8, 4, 2), "float64": (4, 2)}
# Relative speed of each: with a larger one a product reads less from shared memory.
# An estimate from counts of instructions; not measured.
RATE = {8: 1.0, 4: 0.8, 2: 0.5}


class Plan(DevicePlan):
    """Forward and backward propagation of up to ``capacity`` rows on one GPU."""

    def __init__(self, network: Network, capacity: int, device: Device, precision: str) -> None:
        super().__init__(network, capacity, device, precision)
        real = C_TYPES[network.dtype]
        self._modules = {
            micro: device.module("cuda_loops.cu", REAL=real, MICRO=micro)
            for micro in MICROS[network.dtype]
        }

    def forward(self, parameters: Buffer, count: int) -> None:
        """Algorithm 3: activations of every layer; `output_delta` applies a softmax."""
        widths = self.network.widths
        for l in range(1, self.network.depth + 1):
            function = self.function(l)
            arguments = (
                *(self.activations(l - 1), self.weights(parameters, l)),  # (B, I), (I, O)
                *(self.biases(parameters, l), self.activations(l)),  # (O,), (B, O)
                *(np.int64(count), np.int32(widths[l - 1]), np.int32(widths[l])),
                np.int32(LINEAR) if function == SOFTMAX else function,
            )
            self._launch("forward", (count, widths[l]), arguments)

    def rest_of_output(self, parameters: Buffer) -> tuple[np.uint64, np.int32]:
        """Return no biases, and softmax if that is the output's function."""
        function = self.function(self.network.depth)
        return NULL, function if function == SOFTMAX else np.int32(LINEAR)

    def layer_gradient(
        self, layer: int, parameters: Buffer, count: int, out: Buffer, add: bool
    ) -> None:
        """One layer of algorithm 4: its delta, unless it is the output, and sums ∂W and ∂b."""
        l, widths = layer, self.network.widths
        delta = self.delta(l)  # (B, O)
        if l < self.network.depth:
            above, weights = self.delta(l + 1), self.weights(parameters, l + 1)
            sizes = (np.int64(count), np.int32(widths[l]), np.int32(widths[l + 1]))
            operands = (above, weights, self.activations(l), delta)
            self._launch("hidden_delta", (count, widths[l]), (*operands, *sizes, self.slope(l)))
        sizes = (np.int64(count), np.int32(widths[l - 1]), np.int32(widths[l]))
        dparts = (self.weights(out, l), self.biases(out, l))
        arguments = (self.activations(l - 1), delta, *dparts, *sizes, np.int32(add))
        self._launch("weight_gradient", (widths[l - 1], widths[l]), arguments)

    def _launch(self, name: str, shape: tuple[int, int], arguments: tuple[np.generic, ...]) -> None:
        """Launch a kernel over ``shape``, in tiles of the size that should take the least time.

        The last wave of blocks may leave multiprocessors idle; with small tiles fewer are idle.
        """

        def blocks(micro: int) -> int:
            tile = SIDE * micro
            return -(-shape[0] // tile) * -(-shape[1] // tile)

        def time(micro: int) -> float:
            waves = -(-blocks(micro) // self.device.multiprocessors)
            return waves * micro**2 / RATE[micro]

        micro = min(self._modules, key=time)
        self._modules[micro].launch(name, blocks(micro), THREADS, *arguments)
