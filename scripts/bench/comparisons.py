"""Which cells of a section are compared, and what is asked of the ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench import peers
from bench.placement import ONE_CORE, TWO_RANKS
from bench.rounds import Cell, Round, Section
from bench.sections import FLOOR
from bench.setting import EXAMPLES
from hpcpgd.kernels.network import Array


@dataclass(frozen=True)
class Bound:
    """What the project asks of a ratio."""

    at_least: bool
    value: float

    @property
    def text(self) -> str:
        """Say what is asked."""
        return f"at {'least' if self.at_least else 'most'} {self.value:g}"

    def met(self, ratio: float) -> bool:
        """Say whether ``ratio`` is as asked."""
        return bool(ratio >= self.value if self.at_least else ratio <= self.value)


@dataclass(frozen=True)
class Comparison:
    """The time of one cell over that of another, both numbers of cells."""

    text: str
    over: int
    under: int
    bound: Bound | None = None


# Name of a cell, batch: the most that its time may be over that of another cell on one core.
CEILINGS = {
    ("gemm", FLOOR, 1024): Bound(False, 1.2),
    ("loops", "C -O2", 128): Bound(False, 1.0),
}
SPEEDUPS = {"loops": Bound(True, 1.8)}
# What the program is measured against.
BASELINES = (FLOOR, "C -O2", "C -O3 -march=native", *peers.NAMES)
# The cells that stand for the program on one core and on two.
MAIN = (("gemm", ONE_CORE), ("gemm", TWO_RANKS))
# Name of a peer, batch: the most that the time of the main cell on as many cores may be over it.
PEER_CEILINGS = {
    (peers.JAX, 128): Bound(False, 1.0),
    (peers.JAX, 1024): Bound(False, 1.0),
    (peers.DDP, 128): Bound(False, 0.25),
    (peers.DDP, 1024): Bound(False, 0.5),
}
# Of the geometric mean over all main cells.
JAX_CEILING = Bound(False, 0.85)


def comparisons(section: Section) -> list[Comparison]:
    """Return time over the floor, C loops and peers, then speedups over one core."""
    pairs = [(i, k) for i in range(len(section.cells)) for k in range(len(section.cells))]
    found = [_over_baseline(section, i, k) for i, k in pairs]
    found += [_speedup(section, i, k) for i, k in pairs]
    return [comparison for comparison in found if comparison is not None]


def _over_baseline(section: Section, i: int, k: int) -> Comparison | None:
    cell, base = section.cells[i], section.cells[k]
    same_cores = cell.placement.cores == base.placement.cores
    if cell.name in BASELINES or base.name not in BASELINES or not same_cores:
        return None
    text = f"{cell.label}: time over {base.name}"
    return Comparison(text, i, k, _ceiling(cell, base, section.batch))


def is_main(cell: Cell) -> bool:
    """Say whether the cell stands for the program on its number of cores."""
    return (cell.name, cell.placement) in MAIN


def _ceiling(cell: Cell, base: Cell, batch: int) -> Bound | None:
    if is_main(cell) and (base.name, batch) in PEER_CEILINGS:
        return PEER_CEILINGS[base.name, batch]
    return CEILINGS.get((cell.name, base.name, batch)) if cell.placement == ONE_CORE else None


def _speedup(section: Section, i: int, k: int) -> Comparison | None:
    cell, base = section.cells[i], section.cells[k]
    if cell.name != base.name or base.placement != ONE_CORE or cell.placement == ONE_CORE:
        return None
    return Comparison(f"{cell.label}: speedup over 1 core", k, i, SPEEDUPS.get(cell.name))


def seconds(section: Section, cell: int, rounds: list[Round]) -> Array:
    """Return the seconds per 60,000 examples of a cell in each round."""
    timed: Cell = section.cells[cell]
    per_example = np.array([r.seconds[cell] for r in rounds]) / (timed.steps * section.batch)
    return np.asarray(per_example * EXAMPLES)


def ratios(section: Section, comparison: Comparison, rounds: list[Round]) -> Array:
    """Return the ratio of each round: paired, so that slow rounds cancel."""
    over = seconds(section, comparison.over, rounds)
    return np.asarray(over / seconds(section, comparison.under, rounds))
