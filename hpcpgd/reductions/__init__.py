"""Sums of partial gradients over the ranks, one module a reduction, and what a step moves.

May import ``engines`` and what lies below it.
"""

from __future__ import annotations

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import RunConfig


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
    able = config.backend in REDUCTIONS["shared"].backends and config.group_size != 1
    return "shared" if able and most_on_node > 1 else "allreduce"
