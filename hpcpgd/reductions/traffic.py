"""The work of a step: operations, bytes moved and bytes communicated.

All of it is computed from the network, the minibatch and the groups of ranks; nothing is
measured.  The numbers hold for a step whose rows fit into the buffers at once.
"""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass

import numpy as np

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.engines.host_engine import SLOTS
from hpcpgd.kernels.backends.registry import TILE_PARTS
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.schedule.phases import BACK, FORWARD, GRADIENT, OUTPUT, products, shape

NAMES = {FORWARD: "forward", OUTPUT: "forward", BACK: "back", GRADIENT: "gradient"}


@dataclass(frozen=True)
class ProductCost:
    """One product of one layer in one step, over all ranks.

    Attributes
    ----------
    name : str
        ``forward``, ``back`` or ``gradient``.
    flops : int
        Floating-point operations, on tiles of the products of all parts.
    bytes_moved : int
        Each operand is read once and the result written once.  A gradient is added to the
        memory of its result, which is read as well.
    """

    name: str
    layer: int
    flops: int
    bytes_moved: int


def step_products(
    network: Network, rows: int, precision: str = "", byte_inputs: bool = False
) -> list[ProductCost]:
    """Return the cost of each product of a step on ``rows`` examples.

    On tiles, ``precision`` decides how many products of parts it takes; rows of bytes that enter
    layer 1 have one part.
    """
    parts = TILE_PARTS.get(precision, 1)
    costs = []
    for kind, layer in products(network):
        m, n, k = shape(network, kind, layer, rows)
        numbers = m * k + k * n + m * n * (2 if kind == GRADIENT else 1)
        # Pairs of parts i of one factor and j of the other with i + j < parts.
        times = parts if layer == 1 and byte_inputs else parts * (parts + 1) // 2
        cost = ProductCost(NAMES[kind], layer, 2 * m * n * k * times, numbers * network.itemsize)
        costs.append(cost)
    return costs


def communicated(
    network: Network,
    reduction: str,
    rows: int,
    sizes: tuple[int, ...],
    threads: int = 1,
    on_device: bool = False,
) -> Array:
    """Return the bytes that all ranks together hand to MPI's collectives in a step.

    Parameters
    ----------
    rows : int
        Rows of the minibatch.
    sizes : tuple of int
        Ranks of every group; for ``allreduce`` and ``overlap`` only their sum counts.
    threads : int
        Threads of every rank.
    on_device : bool
        Whether GPUs compute: their gradient is sent without flags.

    Returns
    -------
    ndarray of int64, shape (L + 1,)
        Bytes of each layer 1 … L; place 0 has the flags, and padding that belongs to no layer.
    """
    module = importlib.import_module(REDUCTIONS[reduction].module)
    nbytes = np.zeros(network.depth + 1, np.int64)
    if sum(sizes) > 1:
        nbytes[:] = module.communicated(network, rows, sizes, threads, on_device)
    return nbytes


def summed_bytes(network: Network, ranks: int, on_device: bool, gaps: bool) -> list[int]:
    """Return the bytes of flags and of each layer's gradient, with ``gaps`` in the vector or not.

    They are those of all ranks together.
    """
    layers = []
    for layer in range(1, network.depth + 1):
        begin, end = network.span(layer)
        filling = network.padded(network.widths[layer]) - network.widths[layer] if gaps else 0
        layers.append((end + filling - begin) * ranks * network.itemsize)
    flags = 0 if on_device else SLOTS * ranks * network.itemsize
    return [flags, *layers]


def parameter_bytes(network: Network) -> list[int]:
    """Return the bytes of each layer's weights and biases."""
    shapes = itertools.pairwise(network.widths)
    return [(fan_in + 1) * fan_out * network.itemsize for fan_in, fan_out in shapes]
