"""Products of backend ``gemm`` on tiles, from bfloat16 parts of the factors.

Parameters, activations and deltas stay float32: a product packs the factors that it needs.
Input rows of bytes are exact in bfloat16.  They are kept as bytes, in one part, and the factor
that scales them multiplies the product instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hpcpgd.kernels.backends.gemm import UNITS, product
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.elementwise import Completion
from hpcpgd.kernels.core.network import Array, aligned_zeros
from hpcpgd.kernels.schedule.units import offer
from hpcpgd.kernels.tiles.tile_product import EXTENT, SPARE, Panels, multiply, panel_bytes


class TileCalls(NamedTuple):
    """The library of these products.

    Attributes
    ----------
    parts, input_parts : int
        Parts of every number, and of those of the input rows.
    scale : float
        Factor of products with the input rows.
    blocks, spare : ndarray, shape (threads, …)
        The memory of `Panels`, with one row for each thread.
    panel : int
        As in ``GemmCalls``.
    """

    parts: int
    input_parts: int
    scale: float
    blocks: Array
    spare: Array
    panel: int


def tile_calls(parts: int, byte_scale: float | None, threads: int) -> TileCalls:
    """Return the library that the units of ``gemm`` call, for float32.

    ``byte_scale`` is the factor of input rows that are bytes, None if they are any numbers.
    """
    blocks = aligned_zeros(threads * panel_bytes(parts), np.uint8).reshape(threads, -1)
    spare = aligned_zeros(threads * SPARE, np.float32).reshape(threads, -1)
    inputs = (parts, 1.0) if byte_scale is None else (1, byte_scale)
    return TileCalls(parts, *inputs, blocks, spare, EXTENT)


@compiled()
def _product(
    library: TileCalls, who: Any, how: Any, task: Completion, a: Array, b: Array, c: Array
) -> None:
    thread, is_input = who
    transposed, (alpha, beta) = how
    parts = library.input_parts if is_input else library.parts
    scales = (alpha * library.scale if is_input else alpha), beta
    panels = Panels(library.blocks[thread], library.spare[thread])
    multiply(panels, (parts, library.parts), (transposed, scales), task, a, b, c)


offer(TileCalls, {product: _product, **UNITS})
