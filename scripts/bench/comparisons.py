"""Which cells of a section are compared, and the bounds of their ratios."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcpgd.kernels.core.network import Array
from scripts.bench import contestants, peers
from scripts.bench.peaks import PEAKS
from scripts.bench.placement import ONE_CORE, TWO_RANKS, TWO_THREADS, Placement
from scripts.bench.rounds import Cell, Round, Section
from scripts.bench.sections import FLOOR
from scripts.bench.setting import EXAMPLES


@dataclass(frozen=True)
class Bound:
    """The project's bound of a ratio."""

    at_least: bool
    value: float

    @property
    def text(self) -> str:
        """The bound in words."""
        return f"at {'least' if self.at_least else 'most'} {self.value:g}"

    def met(self, ratio: float) -> bool:
        """Return whether ``ratio`` is within the bound."""
        return bool(ratio >= self.value if self.at_least else ratio <= self.value)


@dataclass(frozen=True)
class Comparison:
    """The time of cell ``over`` divided by that of cell ``under``, both given by their numbers.

    With ``per``, the numbers of two more cells, the ratio is divided by the ratio of these.
    """

    text: str
    over: int
    under: int
    bound: Bound | None = None
    per: tuple[int, int] | None = None


Asked = tuple[str, Placement]
# The cells that represent the program on one core and on two, by the precision of products.
MAIN: tuple[Asked, ...] = (("gemm", ONE_CORE), ("gemm shared", TWO_RANKS))
MAINS = {"float32": MAIN} | {
    precision: tuple((f"{name} {precision}", place) for name, place in MAIN)
    for precision in contestants.TILED
}
# By precision, a baseline's name and a batch: the largest ratio of a main cell's time to the
# baseline's on the same number of cores.
CEILINGS = {
    ("float32", FLOOR, 128): Bound(False, 1.15),
    ("float32", FLOOR, 1024): Bound(False, 1.08),
    ("float32", peers.JAX, 128): Bound(False, 1.0),
    ("float32", peers.JAX, 1024): Bound(False, 1.0),
    ("float32", peers.DDP, 128): Bound(False, 0.25),
    ("float32", peers.DDP, 1024): Bound(False, 0.5),
    ("bf16", "AMX peak", 1024): Bound(False, 1 / 0.35),
    ("bf16x6", "FMA peak", 1024): Bound(False, 1.0),
}
# The bound of the geometric mean over all main cells of a precision.
JAX_CEILINGS = {
    "float32": Bound(False, 0.85), "bf16": Bound(False, 0.35), "bf16x6": Bound(False, 0.75)
}  # fmt: skip
LOOPS_CEILING = Bound(False, 1.0)  # over the same loops in C at -O2, on one core
# By cell: the cell on one core that is the base of its speedup, and the bounds by batch.
SPEEDUPS: dict[Asked, tuple[str, dict[int, Bound]]] = {
    ("gemm", TWO_THREADS): ("gemm", {}),
    ("gemm allreduce", TWO_RANKS): ("gemm", {1024: Bound(True, 1.75)}),
    ("gemm overlap", TWO_RANKS): ("gemm", {}),
    ("gemm shared", TWO_RANKS): ("gemm", {}),
    ("gemm reproducible", TWO_RANKS): ("gemm reproducible", {}),
    (FLOOR, TWO_RANKS): (FLOOR, {}),
    ("loops", TWO_THREADS): ("loops", {128: Bound(True, 1.8), 1024: Bound(True, 1.8)}),
    ("loops", TWO_RANKS): ("loops", {128: Bound(True, 1.8), 1024: Bound(True, 1.8)}),
}
OF_SAME_BITS = {128: Bound(False, 1.6), 1024: Bound(False, 1.3)}
OF_SAME_BITS_TILED = {128: Bound(False, 1.05), 1024: Bound(False, 1.05)}
# The cost of a property: a cell with it, the cell without it, and the bounds by batch.
COSTS: tuple[tuple[Asked, Asked, dict[int, Bound]], ...] = (
    (("gemm reproducible", ONE_CORE), ("gemm", ONE_CORE), OF_SAME_BITS),
    (("gemm reproducible", TWO_RANKS), ("gemm shared", TWO_RANKS), OF_SAME_BITS),
    (("gemm overlap", TWO_RANKS), ("gemm allreduce", TWO_RANKS), {}),
    (("gemm shared", TWO_RANKS), ("gemm", TWO_THREADS), {}),
    *(
        ((f"gemm reproducible {p}", TWO_RANKS), (f"gemm shared {p}", TWO_RANKS), OF_SAME_BITS_TILED)
        for p in contestants.TILED
    ),
)
OF_THE_FLOOR = Bound(True, 0.95)
C_LOOPS = ("C -O2", "C -O3 -march=native")
# What the program is compared with.
FOR_MAIN_CELLS = (*PEAKS, *peers.NAMES)
BASELINES = (FLOOR, *C_LOOPS, *FOR_MAIN_CELLS)


def comparisons(section: Section) -> list[Comparison]:
    """Return the ratios to the floor, C loops and peers, speedups, and costs of properties."""
    places = {(cell.name, cell.placement): n for n, cell in enumerate(section.cells)}
    candidates = [
        _over_baseline(section, i, k)
        for i in range(len(section.cells))
        for k in range(len(section.cells))
    ]
    candidates += [_speedup(section, places, cell) for cell in SPEEDUPS]
    candidates += [_of_the_floor(section, places)]
    candidates += [_cost(section, places, *cost) for cost in COSTS]
    return [comparison for comparison in candidates if comparison is not None]


def _over_baseline(section: Section, i: int, k: int) -> Comparison | None:
    cell, base = section.cells[i], section.cells[k]
    same_cores = cell.placement.cores == base.placement.cores
    if cell.name in BASELINES or base.name not in BASELINES or not same_cores:
        return None
    if base.name in FOR_MAIN_CELLS and not any(is_main(cell, each) for each in MAINS):
        return None
    text = f"{cell.label}: time over {base.name}"
    if base.name == C_LOOPS[0] and cell.placement == ONE_CORE and cell.name == "loops":
        return Comparison(text, i, k, LOOPS_CEILING)
    mains = [CEILINGS.get((p, base.name, section.batch)) for p in MAINS if is_main(cell, p)]
    return Comparison(text, i, k, mains[0] if mains else None)


def is_main(cell: Cell, precision: str = "float32") -> bool:
    """Return whether the cell represents the program on its number of cores."""
    return (cell.name, cell.placement) in MAINS[precision]


def _speedup(section: Section, places: dict[Asked, int], cell: Asked) -> Comparison | None:
    base, asked = SPEEDUPS[cell]
    if cell not in places or (base, ONE_CORE) not in places:
        return None
    number, one = places[cell], places[base, ONE_CORE]
    text = f"{section.cells[number].label}: speedup over {section.cells[one].label}"
    return Comparison(text, one, number, asked.get(section.batch))


def _of_the_floor(section: Section, places: dict[Asked, int]) -> Comparison | None:
    """Compare the main speedup with that of two independent copies of the products."""
    wanted = (*MAIN, (FLOOR, ONE_CORE), (FLOOR, TWO_RANKS))
    if any(cell not in places for cell in wanted):
        return None
    one, two, floor, floors = (places[cell] for cell in wanted)
    text = f"{section.cells[two].label}: speedup over the floor's"
    return Comparison(text, one, two, OF_THE_FLOOR, (floor, floors))


def _cost(
    section: Section, places: dict[Asked, int], cell: Asked, base: Asked, asked: dict[int, Bound]
) -> Comparison | None:
    if cell not in places or base not in places:
        return None
    labels = [section.cells[places[each]].label for each in (cell, base)]
    text = f"{labels[0]}: time over {labels[1]}"
    return Comparison(text, places[cell], places[base], asked.get(section.batch))


def seconds(section: Section, cell: int, rounds: list[Round]) -> Array:
    """Return the seconds per 60,000 examples of a cell in each round."""
    timed: Cell = section.cells[cell]
    per_example = np.array([r.seconds[cell] for r in rounds]) / (timed.steps * section.batch)
    return np.asarray(per_example * EXAMPLES)


def ratios(section: Section, comparison: Comparison, rounds: list[Round]) -> Array:
    """Return the ratio of each round; both times of a ratio are from the same round."""
    over, under, per = comparison.over, comparison.under, comparison.per
    ratio = seconds(section, over, rounds) / seconds(section, under, rounds)
    if per is not None:
        ratio *= seconds(section, per[1], rounds) / seconds(section, per[0], rounds)
    return np.asarray(ratio)
