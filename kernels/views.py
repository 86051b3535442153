"""Views of one layer in the flat vectors, for compiled code.

Letters: B rows, I fan_in, O fan_out.
"""

from __future__ import annotations

from hpcpgd.kernels.compiled import compiled
from hpcpgd.kernels.network import BIASES, ROWS, WEIGHTS, WIDTH, Array


@compiled()
def rows_of(flat: Array, offset: int, width: int, start: int, stop: int) -> Array:
    """Return rows ``start … stop`` of a layer whose rows begin at ``offset`` in ``flat``."""
    return flat[offset + start * width : offset + stop * width].reshape(stop - start, width)


@compiled()
def weights_of(table: Array, flat: Array, layer: int) -> Array:
    """Return the view (I, O) of a layer's weights in a flat vector."""
    begin, fan_in, fan_out = table[layer, WEIGHTS], table[layer - 1, WIDTH], table[layer, WIDTH]
    return flat[begin : begin + fan_in * fan_out].reshape(fan_in, fan_out)


@compiled()
def biases_of(table: Array, flat: Array, layer: int) -> Array:
    """Return the view (O,) of a layer's biases in a flat vector."""
    return flat[table[layer, BIASES] : table[layer, BIASES] + table[layer, WIDTH]]


@compiled()
def activations_of(table: Array, flat: Array, layer: int, start: int, stop: int) -> Array:
    """Return rows ``start … stop`` of a layer's activations, (B, O)."""
    return rows_of(flat, table[layer, ROWS], table[layer, WIDTH], start, stop)


@compiled()
def deltas_of(table: Array, flat: Array, layer: int, start: int, stop: int) -> Array:
    """Return rows ``start … stop`` of a layer's deltas, (B, O)."""
    return rows_of(flat, table[layer, ROWS] - table[1, ROWS], table[layer, WIDTH], start, stop)
