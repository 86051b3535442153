"""Sums of partial gradients over the ranks, a module for each reduction, and their traffic.

May import ``engines`` and what lies below it.
"""

from __future__ import annotations

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import RunConfig


def choose(config: RunConfig, most_on_node: int) -> str:
    """Return the reduction that ``config`` names, or choose one for ``auto``.

    Parameters
    ----------
    most_on_node : int
        The largest number of ranks on one node.
    """
    if config.reduction != "auto":
        return config.reduction
    able = config.backend in REDUCTIONS["shared"].backends and config.group_size != 1
    return "shared" if able and most_on_node > 1 else "allreduce"
