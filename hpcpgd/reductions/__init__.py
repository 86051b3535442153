"""Sums of partial gradients over the ranks, one module a reduction, and what a step moves.

May import ``engines`` and what lies below it.
"""

from __future__ import annotations

from typing import Protocol

from hpcpgd.config.run_config import REDUCTIONS, RunConfig


class Reduction(Protocol):
    """What the training loop asks of a reduction."""

    @property
    def hidden_share(self) -> float:
        """Part of the communication that cost no time so far; NaN if it never could."""

    def prepare(self) -> None:
        """Find out what the steps need to know; collective, before the first."""

    def step(self, epoch: int, step: int, rate: float) -> bool:
        """Make minibatch ``step`` (from 0) of ``epoch`` (from 1); False if it was the last."""

    def warm_up(self, rate: float) -> None:
        """Compile, or load, all that the steps need; changes no parameter, not collective."""


def choose(config: RunConfig, most_on_node: int) -> str:
    """Return the reduction that was named, or the one that ``auto`` stands for.

    Parameters
    ----------
    config : RunConfig
    most_on_node : int
        Ranks of the node that has the most.
    """
    if config.reduction != "auto":
        return config.reduction
    able = config.backend in REDUCTIONS["shared"] and config.group_size != 1
    return "shared" if able and most_on_node > 1 else "allreduce"
