"""The work of a step: operations, bytes moved and bytes communicated.

All of it follows from the network, the minibatch and how ranks are grouped; nothing is
measured.  A step whose rows fit into the buffers at once is meant.
"""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass

import numpy as np

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.engines.host_engine import SLOTS
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
    layer : int
    flops : int
        Floating-point operations.
    bytes_moved : int
        Each operand read once and the result written once; that of a gradient is added to
        what stands there.
    """

    name: str
    layer: int
    flops: int
    bytes_moved: int


def step_products(network: Network, rows: int) -> list[ProductCost]:
    """Return the cost of each product of a step on ``rows`` examples."""
    found = []
    for kind, layer in products(network):
        m, n, k = shape(network, kind, layer, rows)
        numbers = m * k + k * n + m * n * (2 if kind == GRADIENT else 1)
        cost = ProductCost(NAMES[kind], layer, 2 * m * n * k, numbers * network.itemsize)
        found.append(cost)
    return found


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
    network : Network
    reduction : str
    rows : int
        Of the minibatch.
    sizes : tuple of int
        Ranks of every group; for ``allreduce`` and ``overlap`` only their sum counts.
    threads : int
        Of every rank.
    on_device : bool
        Whether GPUs compute, whose gradient travels without flags.

    Returns
    -------
    ndarray of int64, shape (L + 1,)
        For each layer; in place 0 what belongs to none: flags, and what fills up lines.
    """
    module = importlib.import_module(REDUCTIONS[reduction].module)
    found = np.zeros(network.depth + 1, np.int64)
    if sum(sizes) > 1:
        found[:] = module.communicated(network, rows, sizes, threads, on_device)
    return found


def summed_bytes(network: Network, ranks: int, on_device: bool, gaps: bool) -> list[int]:
    """Return the bytes of a gradient that all ranks sum, with or without the vector's gaps."""
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
