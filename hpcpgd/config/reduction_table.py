"""The reductions by name: their traits, and which backends each can use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hpcpgd.kernels.backends.registry import BACKENDS, BackendTraits


@dataclass(frozen=True)
class ReductionTraits:
    """What a reduction can do and what it needs, known without importing its module."""

    module: str  # its name only: this package may not import it
    can_use: Callable[[BackendTraits], bool]  # whether it can use a backend with these traits
    grouped: bool = False  # sums in memory that the ranks of a group share
    overlaps: bool = False  # sends pieces of the gradient while others are computed
    same_bits: bool = False  # on any number of ranks: units depend only on ``shards``

    @property
    def backends(self) -> list[str]:
        """The backends that it can use: scheduled ones first, then others with units."""
        able = [name for name, backend in BACKENDS.items() if self.can_use(backend)]
        return sorted(able, key=lambda name: -BACKENDS[name].units - BACKENDS[name].scheduled)


REDUCTIONS = {
    "allreduce": ReductionTraits("hpcpgd.reductions.allreduce", lambda b: True),
    "overlap": ReductionTraits("hpcpgd.reductions.overlap", lambda b: b.in_pieces, overlaps=True),
    "shared": ReductionTraits("hpcpgd.reductions.shared", lambda b: b.scheduled, grouped=True),
    "reproducible": ReductionTraits(
        "hpcpgd.reductions.reproducible", lambda b: b.units, grouped=True, same_bits=True
    ),
}
