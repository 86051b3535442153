"""The network for the kernels: widths, functions and one flat parameter vector.

Parameters and gradients are flat vectors of the same layout.  Layer ``l`` (1 … L) has
``weights[l]`` (fan_in, fan_out) in C order, then ``biases[l]`` (fan_out,).  Each begins on
a 64-byte boundary, and the gaps stay zero.  So a whole vector can be summed over ranks in
place, without packing or copying.

The paper counts the input as layer 1; our layer ``l`` is its layer ``l + 1``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcpgd.kernels.core.freed_memory import zero_bytes

Array = npt.NDArray[Any]

LINEAR, SIGMOID, TANH, RELU, SOFTMAX, GELU = range(6)
FUNCTION_CODES = {
    "linear": LINEAR,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "relu": RELU,
    "softmax": SOFTMAX,
    "gelu": GELU,
}
MSE, CROSS_ENTROPY = range(2)
LOSS_CODES = {"mse": MSE, "cross-entropy": CROSS_ENTROPY}

# Columns of the table that describes the layers to compiled code, one row a layer.
WIDTH, WEIGHTS, BIASES, ROWS, FUNCTION, SLOPE, KEPT = range(7)

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register


def aligned_zeros(size: int, dtype: npt.DTypeLike) -> Array:
    """Return ``size`` zeros, shape (size,), that begin on a 64-byte boundary."""
    itemsize = np.dtype(dtype).itemsize
    raw = zero_bytes(size * itemsize + ALIGNMENT)
    begin = -raw.ctypes.data % ALIGNMENT
    return raw[begin : begin + size * itemsize].view(dtype)


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron: its shape, its functions and its number type.

    Parameters
    ----------
    widths : tuple of int
        Neurons of each layer, input first: ``(784, 1024, 10)``.
    dtype : str
        ``"float32"`` or ``"float64"``.
    activation : str
        Name in ``FUNCTION_CODES`` of the hidden layers' function, or one name for each of them,
        separated by commas.
    output_activation : str
        Softmax only here, gelu only in hidden layers.
    loss : str
        Name in ``LOSS_CODES``.
    regression : bool
        Whether targets are numbers, one for each output, and not the number of a class.
    """

    widths: tuple[int, ...]
    dtype: str = "float32"
    activation: str = "sigmoid"
    output_activation: str = "sigmoid"
    loss: str = "mse"
    regression: bool = False

    @property
    def depth(self) -> int:
        """Number of layers with weights, L."""
        return len(self.widths) - 1

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return np.dtype(self.dtype).itemsize

    def padded(self, count: int) -> int:
        """Round ``count`` numbers up to whole 64-byte lines."""
        line = ALIGNMENT // self.itemsize
        return -(-count // line) * line

    @cached_property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Offsets of weights and biases of layers 1 … L in the flat vector, in numbers."""
        offsets = []
        end = 0
        for fan_in, fan_out in zip(self.widths, self.widths[1:], strict=False):
            weights = end
            biases = weights + self.padded(fan_in * fan_out)
            end = biases + self.padded(fan_out)
            offsets.append((weights, biases))
        return tuple(offsets)

    @cached_property
    def size(self) -> int:
        """Length of the flat vector, gaps included."""
        return self.offsets[-1][1] + self.padded(self.widths[-1])

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of the functions of layers 1 … L."""
        hidden = self.activation.split(",")
        return (
            *(hidden * (self.depth - 1) if len(hidden) == 1 else hidden),
            self.output_activation,
        )

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases, without gaps."""
        return sum((i + 1) * o for i, o in zip(self.widths, self.widths[1:], strict=False))

    @property
    def flops_per_example(self) -> int:
        """Floating-point operations of the products for one training example.

        Each weight takes two forward, two in the weight gradient, and two in the delta of the
        layer below.  Layer 1 has no such delta: algorithm 4's delta of the input is unused.
        """
        products = [i * o for i, o in zip(self.widths, self.widths[1:], strict=False)]
        return 2 * sum(products) * 2 + 2 * sum(products[1:])

    def wrong_function(self) -> str:
        """Return what is wrong with the names of functions and loss, "" if nothing is."""
        for name, known in (
            (self.loss, LOSS_CODES),
            *((f, FUNCTION_CODES) for f in self.functions),
        ):
            if name not in known:
                return f"its network has {name!r:.60}, expected one of {', '.join(known)}"
        if len(self.functions) != self.depth:
            return f"its network has activation {self.activation!r:.60} for {self.depth} layers"
        return ""

    def zeros(self) -> Array:
        """Return a flat vector of zeros, shape (size,)."""
        return aligned_zeros(self.size, self.dtype)

    def weights(self, flat: Array, layer: int) -> Array:
        """Return the view (fan_in, fan_out) of layer 1 … L's weights in ``flat``."""
        fan_in, fan_out = self.widths[layer - 1 : layer + 1]
        begin = self.offsets[layer - 1][0]
        return flat[begin : begin + fan_in * fan_out].reshape(fan_in, fan_out)

    def biases(self, flat: Array, layer: int) -> Array:
        """Return the view (fan_out,) of layer 1 … L's biases in ``flat``."""
        begin = self.offsets[layer - 1][1]
        return flat[begin : begin + self.widths[layer]]

    def parts(self, flat: Array) -> dict[str, Array]:
        """Return the views ``layer1/weights``, ``layer1/biases``, ``layer2/weights``, …, in order.

        The names are those of a run file; see ``weights`` and ``biases``.
        """
        return {
            f"layer{layer}/{name}": view(flat, layer)
            for layer in range(1, self.depth + 1)
            for name, view in (("weights", self.weights), ("biases", self.biases))
        }

    def filled(self, values: Iterable[Array]) -> Array:
        """Return a flat vector, shape (size,), with the values of its ``parts`` in their order."""
        flat = self.zeros()
        for part, value in zip(self.parts(flat).values(), values, strict=True):
            part[...] = value
        return flat

    def span(self, layer: int) -> tuple[int, int]:
        """Return begin and end of layer 1 … L, weights and biases, in a flat vector."""
        weights, biases = self.offsets[layer - 1]
        return weights, biases + self.widths[layer]

    def table(self, capacity: int) -> npt.NDArray[np.int64]:
        """Describe the layers to compiled code, int64, shape (L + 1, 7).

        Columns: width; offsets of weights and biases in the flat vector; offset of the
        layer's rows in the buffers of a workspace for ``capacity`` rows; code of the
        activation; code of the function whose derivative multiplies the delta; offset of the
        rows from which that derivative is computed: the activations, or for gelu the
        pre-activations, which follow the activations of the last layer.
        """
        table = np.zeros((self.depth + 1, 7), np.int64)
        table[:, WIDTH] = self.widths
        table[1:, [WEIGHTS, BIASES]] = self.offsets
        sizes = [self.padded(capacity * width) for width in self.widths]
        table[1:, ROWS] = np.cumsum(sizes)[:-1]
        table[1:, FUNCTION] = [FUNCTION_CODES[name] for name in self.functions]
        table[:, SLOPE] = table[:, FUNCTION]
        if self.loss == "cross-entropy":
            # The derivative of softmax or sigmoid cancels against that of the loss.
            table[-1, SLOPE] = LINEAR
        more = np.where(table[:, FUNCTION] == GELU, sizes, 0)
        table[:, KEPT] = np.where(more > 0, sum(sizes) + np.cumsum(more) - more, table[:, ROWS])
        return table

    def bytes_per_row(self) -> int:
        """Bytes of workspace that one row of a minibatch takes."""
        kept = [n for n, f in zip(self.widths[1:], self.functions, strict=True) if f == "gelu"]
        return (2 * sum(self.widths) - self.widths[0] + sum(kept)) * self.itemsize
