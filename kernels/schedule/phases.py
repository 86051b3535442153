"""Which worker computes which part of a step, and which phases end with a barrier.

A step is a list of *phases*, each a product of one layer (algorithms 3 and 4).  The result is
a matrix, whose rows are cut into ``parts`` and columns into ``tiles``.  This grid gives
*units*, each of which is one call of the backend.  Units are assigned to workers: the threads
of one rank, or all threads of the ranks that share memory.

| phase | product | rows of the result | columns |
|---|---|---|---|
| FORWARD l | ``a_l = f(a_{l-1} W_l + b_l)`` | minibatch | fan_out |
| OUTPUT | the same of layer L, its scores and delta | minibatch | not cut |
| BACK l | ``delta_{l-1} = delta_l W_lᵀ ∘ f'(a_{l-1})`` | minibatch | fan_in |
| GRADIENT l | ``∂W_l = a_{l-1}ᵀ delta_l`` and ``∂b_l`` | fan_in | fan_out |
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.partition import LANES, block_range, unit_block
from hpcpgd.kernels.schedule.command import PHASE

FORWARD, OUTPUT, BACK, GRADIENT = range(4)
Span = tuple[int, int]  # the first and one after the last

UNITS = 8  # units of a product per shard in ``fixed``: 32 with 4 shards
PIECE = 2**19  # bytes of a gradient that make a separate message worthwhile
# The time of a product of M x N numbers is 1 + ROWS / M + COLUMNS / N times that of its
# multiply-adds, as operands are also copied into the cache and packed for the inner loop.
# Measured with OpenBLAS's sgemm on units of 25 to 1024 rows and columns.
ROWS, COLUMNS = 24.0, 10.0
# The time of a barrier, in multiply-adds of one core.
BARRIER_COST = 2e5


@dataclass(frozen=True)
class Grid:
    """How the result of a product is cut: rows into ``parts``, columns into ``tiles``."""

    parts: int
    tiles: int

    @property
    def units(self) -> int:
        """Number of units."""
        return self.parts * self.tiles


@dataclass(frozen=True)
class Phase:
    """One product of one layer, cut into units, or some of these units.

    Attributes
    ----------
    first : int
        Number of the first unit of this phase in the product.
    """

    kind: int
    layer: int
    grid: Grid
    first: int = 0

    def block(self, network: Network, rows: int, unit: int) -> tuple[Span, Span]:
        """Return the rows and the columns of a unit in the result for ``rows`` examples."""
        m, n, _ = shape(network, self.kind, self.layer, rows)
        return unit_block((m, n), self.grid.parts, self.grid.tiles, unit)


@dataclass(frozen=True)
class Schedule:
    """The phases of a step and the assignment of their units.

    Attributes
    ----------
    phases : tuple of Phase
        Forward phases and output, then back and gradient phases in any order.
    counts : tuple of tuple of int
        For each phase, the number of units of each worker: worker 0 has the first units.
    """

    phases: tuple[Phase, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def workers(self) -> int:
        """Number of threads that compute a step."""
        return len(self.counts[0])

    def first(self, kind: int) -> int:
        """Return the number of the first phase of ``kind`` or of a later kind."""
        return sum(phase.kind < kind for phase in self.phases)

    @cached_property
    def bounds(self) -> Array:
        """int64; worker ``w`` has units ``bounds[phase, w]`` to below ``bounds[phase, w + 1]``."""
        bounds = np.zeros((len(self.phases), self.workers + 1), np.int64)
        np.cumsum(self.counts, axis=1, out=bounds[:, 1:])
        return bounds + np.array([[phase.first] for phase in self.phases])

    @cached_property
    def table(self) -> Array:
        """The phases for compiled code, ``PHASE`` records (phases,)."""
        pairs = itertools.pairwise(self.phases)
        syncs = [*(not self._same_rows(phase, after) for phase, after in pairs), True]
        rows = [
            (p.kind, p.layer, p.grid.parts, p.grid.tiles, sync)
            for p, sync in zip(self.phases, syncs, strict=True)
        ]
        return np.array(rows, PHASE)

    def _same_rows(self, phase: Phase, after: Phase) -> bool:
        """Return whether no barrier is needed: workers continue with their rows, or gradients."""
        if phase.kind == GRADIENT or self.workers == 1:
            return True
        rows = Grid(self.workers, 1)
        return after.kind != GRADIENT and phase.grid == rows and after.grid == rows


def shape(network: Network, kind: int, layer: int, rows: int) -> tuple[int, int, int]:
    """Return M, N and K of a phase's product: (M, K) times (K, N)."""
    fan_in, fan_out = network.widths[layer - 1 : layer + 1]
    if kind == BACK:
        return rows, fan_in, fan_out
    if kind == GRADIENT:
        return fan_in, fan_out, rows
    return rows, fan_out, fan_in


def unit_flops(network: Network, phase: Phase, rows: int, unit: int) -> int:
    """Return the floating-point operations of one unit."""
    (top, bottom), (left, right) = phase.block(network, rows, unit)
    depth = shape(network, phase.kind, phase.layer, rows)[2]
    return 2 * (bottom - top) * (right - left) * depth


def unit_size(network: Network, phase: Phase, unit: int) -> Span:
    """Return the numbers of ∂W and of ∂b in one unit of a gradient."""
    (top, bottom), (left, right) = phase.block(network, 0, unit)
    return (bottom - top) * (right - left), (right - left if top == 0 else 0)


def products(network: Network) -> list[tuple[int, int]]:
    """Return kind and layer of a step's phases, in order."""
    last = network.depth
    forward = [(FORWARD, layer) for layer in range(1, last)]
    back = [(BACK, layer) for layer in range(last, 1, -1)]
    return [*forward, (OUTPUT, last), *back, *((GRADIENT, l) for l in range(last, 0, -1))]


def divided(
    network: Network, rows: int, workers: int, owners: int | None = None, shards: int | None = None
) -> Schedule:
    """Return the schedule that gives every worker one unit of every product.

    Parameters
    ----------
    rows : int
        Rows of the minibatch that the workers share.
    owners : int, optional
        How many workers, the first ones, have a block of the gradient; default all.
    shards : int, optional
        Units of the output layer's rows, whose scores are summed unit by unit; default
        ``workers``.
    """
    hands = {GRADIENT: owners or workers, OUTPUT: shards or workers}
    phases = [
        Phase(*product, best_grid(network, product, rows, hands.get(product[0], workers)))
        for product in products(network)
    ]
    ends = [[block_range(p.grid.units, workers, w) for w in range(workers)] for p in phases]
    counts = tuple(tuple(stop - start for start, stop in spans) for spans in ends)
    return Schedule(tuple(phases), counts)


def best_grid(
    network: Network, product: tuple[int, int], rows: int, count: int, barrier: float = BARRIER_COST
) -> Grid:
    """Return the grid of ``count`` units for which the model of a product's time is least.

    ``barrier`` is the time of the barrier that a cut by columns requires, in multiply-adds.
    """
    m, n, k = shape(network, *product, rows)

    def cost(grid: Grid) -> float:
        # The largest unit: whole lines of columns, whole rows.
        height, lines = -(-m // grid.parts), -(-n // LANES)
        width = -(-lines // grid.tiles) * LANES
        wait = barrier if grid.tiles > 1 else 0.0
        return height * width * k * (1 + ROWS / height + COLUMNS / width) + wait

    grids = [Grid(count // t, t) for t in range(1, count + 1) if count % t == 0]
    return grids[0] if product[0] == OUTPUT else min(grids, key=cost)


def in_pieces(network: Network, rows: int, threads: int) -> Schedule:
    """Return a schedule that completes the gradient piece by piece, the output layer first.

    A piece is some rows of a layer's ∂W, about ``PIECE`` bytes, computed by a separate phase.
    The first piece of a layer also completes the layer's biases.
    """
    whole = divided(network, rows, threads)
    forward = [p for p in whole.phases if p.kind <= OUTPUT]
    backs = {p.layer: p for p in whole.phases if p.kind == BACK}
    phases = forward
    for layer in range(network.depth, 0, -1):
        fan_in, fan_out = network.widths[layer - 1 : layer + 1]
        pieces = max(min(fan_in * fan_out * network.itemsize // PIECE, fan_in // threads), 1)
        grid = Grid(pieces * threads, 1)
        phases += [Phase(GRADIENT, layer, grid, n * threads) for n in range(pieces)]
        phases += [backs[layer]] if layer in backs else []
    return Schedule(tuple(phases), ((1,) * threads,) * len(phases))


def fixed(network: Network, rows: int, shards: int, workers: int) -> Schedule:
    """Return the schedule whose units do not depend on the number of workers.

    The output layer's rows are cut into ``shards`` units, every other product into ``UNITS``
    times as many, in the grid with the least modelled time.  In every phase all workers get the
    same number of units.  Remaining units go to the workers with the fewest floating-point
    operations so far.  So no worker exceeds its share of a step by more than the largest unit.

    Parameters
    ----------
    rows : int
        Rows of a full minibatch.
    workers : int
        Number of threads of all ranks.
    """
    phases = []
    for kind, layer in products(network):
        count = shards if kind == OUTPUT else shards * UNITS
        grid = best_grid(network, (kind, layer), rows, count, barrier=0.0)
        phases.append(Phase(kind, layer, grid))
    done = np.zeros(workers, np.int64)
    counts = []
    for phase in phases:
        share = np.full(workers, phase.grid.units // workers)
        fewest = np.argsort(done, kind="stable")[: phase.grid.units % workers]
        share[fewest] += 1
        done += share * unit_flops(network, phase, rows, 0)
        counts.append(tuple(int(n) for n in share))
    return Schedule(tuple(phases), tuple(counts))
