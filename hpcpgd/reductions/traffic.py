"""The work of a step: operations, bytes moved and bytes communicated.

All of it follows from the network, the minibatch and how ranks are grouped; nothing is
measured.  A step whose rows fit into the buffers at once is meant.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hpcpgd.engines.host_engine import SLOTS
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.partition import block_range, padded_size
from hpcpgd.kernels.schedule.phases import (
    BACK,
    FORWARD,
    GRADIENT,
    OUTPUT,
    divided,
    products,
    shape,
    unit_size,
)

NAMES = {FORWARD: "forward", OUTPUT: "forward", BACK: "back", GRADIENT: "gradient"}
FLAG_BYTES = 16  # two int64, which ``reproducible`` sums over all ranks


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
    found = np.zeros(network.depth + 1, np.int64)
    ranks = sum(sizes)
    if reduction in ("allreduce", "overlap") and ranks > 1:
        found[1:] = [_span(network, layer, reduction) * ranks for layer in _layers(network)]
        found[0] = 0 if on_device else SLOTS * ranks * network.itemsize
    elif reduction == "shared" and len(sizes) > 1:
        found[1:] = [_parameters(network, layer) * len(sizes) for layer in _layers(network)]
        found[0] = _filling(network, rows, sizes, threads) * network.itemsize
    elif reduction == "reproducible" and len(sizes) > 1:
        found[1:] = [_exchanged(network, layer, rows) for layer in _layers(network)]
        found[0] = FLAG_BYTES * ranks
    return found


def _layers(network: Network) -> range:
    return range(1, network.depth + 1)


def _parameters(network: Network, layer: int) -> int:
    """Return the bytes of a layer's weights and biases."""
    fan_in, fan_out = network.widths[layer - 1 : layer + 1]
    return (fan_in + 1) * fan_out * network.itemsize


def _span(network: Network, layer: int, reduction: str) -> int:
    """Return the bytes of a layer in the flat vector, its gaps included."""
    weights, biases = network.offsets[layer - 1]
    width = network.widths[layer]
    end = biases + (width if reduction == "overlap" else network.padded(width))
    return (end - weights) * network.itemsize


def _filling(network: Network, rows: int, sizes: tuple[int, ...], threads: int) -> int:
    """Return the numbers that fill up the blocks of ``shared`` and carry their flags."""
    blocks, ends = min(sizes), np.cumsum([0, *sizes])
    spans = [block_range(rows, sum(sizes), rank) for rank in range(sum(sizes))]
    most = max(spans[end - 1][1] - spans[begin][0] for begin, end in itertools.pairwise(ends))
    schedule = divided(network, most, blocks * threads)
    units = [
        size
        for phase in schedule.phases
        if phase.kind == GRADIENT
        for unit in range(phase.grid.units)
        for size in unit_size(network, phase, unit)
    ]
    filling: int = sum(padded_size(size) - size for size in units)
    return (filling + SLOTS * blocks) * len(sizes)


def _exchanged(network: Network, layer: int, rows: int) -> int:
    """Return the bytes of a layer that groups of ``reproducible`` send each other."""
    hidden = layer < network.depth  # the outputs' activations are needed where they are
    numbers = rows * network.widths[layer] * (2 if hidden else 1)
    return numbers * network.itemsize + _parameters(network, layer)
