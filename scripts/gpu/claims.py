"""The required speed on a GPU, and the measured one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.gpu.timing import PEERS, Cell

FASTER_AT = (128, 1024)
LARGEST = 16384


@dataclass(frozen=True)
class Claim:
    """One figure: its name, the measured value, the required one, and whether more is better."""

    what: str
    value: float
    asked: float
    at_least: bool = True

    @property
    def holds(self) -> bool:
        """Whether the value is as required; false for NaN."""
        return bool(self.value >= self.asked if self.at_least else self.value <= self.asked)

    def verdict(self) -> str:
        """Return whether the claim holds, in words."""
        if np.isnan(self.value):
            return "not measured"
        return "holds" if self.holds else "does not hold"


def claims(cells: list[Cell]) -> list[Claim]:
    """Return the claims on the measured cells."""
    claimed = []
    for cell in cells:
        where = f"{cell.network} batch {cell.batch} {cell.precision}"
        if cell.network in ("net-1h", "net-2h"):
            # NaN, which means not measured, unless every peer was timed.
            fastest = float(np.min([cell.ratio(peer, "cuda") for peer in PEERS]))
            asked = 1.2 if cell.batch in FASTER_AT else 0.97
            claimed.append(Claim(f"fastest peer's time / cuda's, {where}", fastest, asked))
        if cell.batch == LARGEST and cell.network in ("net-1h", "net-2h"):
            ratio = cell.ratio("cuBLAS alone", "cuda")
            claimed.append(Claim(f"cuda's rate / bare cuBLAS products', {where}", ratio, 0.7))
        claimed += _against_the_cpu(cell, where)
    return claimed + _widths(cells)


def _against_the_cpu(cell: Cell, where: str) -> list[Claim]:
    names = [name for name in cell.seconds if name.startswith("loops, ")]
    claimed = []
    for name in names:
        serial = name.endswith(" 1 core")
        if serial and cell.batch == LARGEST:
            claimed.append(Claim(f"cuda over {name}, {where}", cell.ratio(name, "cuda"), 1000))
        elif not serial:
            ratio = cell.ratio(name, "cuda-loops")
            claimed.append(Claim(f"cuda-loops over {name}, {where}", ratio, 2.5))
    return claimed


def _widths(cells: list[Cell]) -> list[Claim]:
    """Compare a width that is not a multiple of 32 with one that is, per operation."""
    claimed = []
    odd = {(c.batch, c.precision): c for c in cells if c.network == "784-1000-10"}
    for cell in cells:
        other = odd.get((cell.batch, cell.precision)) if cell.network == "net-1h" else None
        for name in ("cuda", "cuda-loops") if other else ():
            assert other is not None
            ratio = cell.tflops(name) / other.tflops(name)
            what = f"{name}: time of width 1000 / 1024 per operation, batch {cell.batch}"
            claimed.append(Claim(f"{what} {cell.precision}", ratio, 1.15, at_least=False))
    return [claim for claim in claimed if not np.isnan(claim.value)]
