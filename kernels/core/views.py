"""Views of one layer in the flat vectors, for compiled code.

Letters: B rows, I fan_in, O fan_out.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import BIASES, KEPT, ROWS, WEIGHTS, WIDTH, Array


@intrinsic
def matrix_at(typingctx: Any, flat: Any, begin: Any, rows: Any, columns: Any) -> Any:
    """Return the view (rows, columns) of vector ``flat`` that begins at index ``begin``.

    The same as ``flat[begin:][: rows * columns].reshape(rows, columns)``, but without the
    checks and copies that would be compiled into each of many calls.
    """
    matrix = types.Array(flat.dtype, 2, "C", readonly=not flat.mutable, aligned=flat.aligned)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source = make_array(flat)(context, builder, args[0])
        out = make_array(matrix)(context, builder)
        first, *shape = (
            context.cast(builder, value, kind, types.intp)
            for value, kind in zip(args[1:], sig.args[1:], strict=True)
        )
        strides = [builder.mul(shape[1], source.itemsize), source.itemsize]
        populate_array(
            out,
            data=builder.gep(source.data, [first]),
            shape=cgutils.pack_array(builder, shape),
            strides=cgutils.pack_array(builder, strides),
            itemsize=source.itemsize,
            meminfo=source.meminfo,
            parent=source.parent,
        )
        return out._getvalue()

    return matrix(flat, begin, rows, columns), codegen


@compiled()
def rows_of(flat: Array, offset: int, width: int, start: int, stop: int) -> Array:
    """Return rows ``start … stop - 1`` of a layer whose rows begin at ``offset`` in ``flat``."""
    return matrix_at(flat, offset + start * width, stop - start, width)


@compiled()
def weights_of(table: Array, flat: Array, layer: int) -> Array:
    """Return the view (I, O) of a layer's weights in a flat vector."""
    begin, fan_in, fan_out = table[layer, WEIGHTS], table[layer - 1, WIDTH], table[layer, WIDTH]
    return matrix_at(flat, begin, fan_in, fan_out)


@compiled()
def biases_of(table: Array, flat: Array, layer: int) -> Array:
    """Return the view (O,) of a layer's biases in a flat vector."""
    return flat[table[layer, BIASES] : table[layer, BIASES] + table[layer, WIDTH]]


@compiled()
def activations_of(table: Array, flat: Array, layer: int, start: int, stop: int) -> Array:
    """Return rows ``start … stop - 1`` of a layer's activations, (B, O)."""
    return rows_of(flat, table[layer, ROWS], table[layer, WIDTH], start, stop)


@compiled()
def kept_of(table: Array, flat: Array, layer: int, start: int, stop: int) -> Array:
    """Return, for these rows, what the derivative of a layer's function is computed from."""
    return rows_of(flat, table[layer, KEPT], table[layer, WIDTH], start, stop)


@compiled()
def deltas_of(table: Array, flat: Array, layer: int, start: int, stop: int) -> Array:
    """Return rows ``start … stop - 1`` of a layer's deltas, (B, O)."""
    return rows_of(flat, table[layer, ROWS] - table[1, ROWS], table[layer, WIDTH], start, stop)
