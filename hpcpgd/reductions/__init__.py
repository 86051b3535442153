"""Reductions: each is a schedule over the phases of a backend that makes one step."""

from __future__ import annotations

from hpcpgd.config import RunConfig


def choose(config: RunConfig) -> str:
    """Return the reduction that ``auto`` stands for, or the one that was named."""
    return "allreduce" if config.reduction == "auto" else config.reduction
