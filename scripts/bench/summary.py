"""Medians and quartiles over the rounds, as plain data for the table and for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcpgd.kernels.core.network import Array
from hpcpgd.reductions.traffic import communicated, step_products
from scripts.bench import peers
from scripts.bench.comparisons import (
    JAX_CEILINGS,
    MAINS,
    Bound,
    Comparison,
    comparisons,
    is_main,
    ratios,
    seconds,
)
from scripts.bench.rounds import Round, Section, kept
from scripts.bench.setting import EXAMPLES

# Sizes of the groups of two ranks on one machine: with ``shared`` and ``reproducible`` one group.
TWO_RANK_GROUPS = {
    "allreduce": (1, 1), "overlap": (1, 1), "shared": (2,), "reproducible": (2,),
}  # fmt: skip


def spread(values: Array) -> dict[str, float] | None:
    """Return median and quartiles, None if there are no values."""
    if values.size == 0:
        return None
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "q1": float(low), "q3": float(high)}


def section_summary(section: Section, best: Array) -> dict[str, Any]:
    """Return the results of a section; ``best`` are the FMA peaks of the cores, GFLOP/s (2,)."""
    good = kept(section.rounds, best)
    return {
        "network": section.network,
        "widths": list(section.shape.widths),
        "batch": section.batch,
        "flops_per_example": section.shape.flops_per_example,
        "cost_of_a_step": cost(section),
        "rounds_kept": len(good),
        "rounds_dropped": len(section.rounds) - len(good),
        "cells": [_cell(section, k, good) for k in range(len(section.cells))],
        "ratios": _ratios(section, good),
        "rounds": [_round(r, any(r is g for g in good)) for r in section.rounds],
    }


def cost(section: Section) -> dict[str, Any]:
    """Return the FLOPs, bytes moved and, on two ranks, bytes communicated of a step, by model."""
    products = step_products(section.shape, section.batch)
    return {
        "flops": sum(product.flops for product in products),
        "bytes_moved": sum(product.bytes_moved for product in products),
        "bytes_communicated_by_2_ranks": {
            name: int(communicated(section.shape, name, section.batch, sizes).sum())
            for name, sizes in TWO_RANK_GROUPS.items()
        },
    }


def _cell(section: Section, number: int, good: list[Round]) -> dict[str, Any]:
    cell = section.cells[number]
    times = seconds(section, number, good)
    rates = section.shape.flops_per_example * EXAMPLES / times / 1e9
    peaks = np.array([r.peaks.mean() for r in good])  # of one core, in the same round
    note = {"note": cell.note} if cell.note else {}
    return {
        "name": cell.name,
        **note,
        "placement": cell.placement.label,
        "ranks": cell.placement.ranks,
        "threads": cell.placement.threads,
        "steps": cell.steps,
        "seconds_per_60000": spread(times),
        "gflops": spread(rates),
        "of_fma_peak": spread(rates / (peaks * cell.placement.cores)),
    }


def overall(sections: list[Section], best: Array) -> list[dict[str, Any]]:
    """Return the ratio over all sections together, of each precision; none without JAX."""
    rows = []
    for precision, main in MAINS.items():
        counted = [(s, c) for s in sections for c in comparisons(s) if _counts(s, c, precision)]
        values = [ratios(section, c, kept(section.rounds, best)) for section, c in counted]
        cells = " and ".join(f"{name}, {placement.label}" for name, placement in main)
        text = f"{cells}: time over {peers.JAX}, geometric mean of {len(counted)}"
        if counted:
            rows.append(_ratio(text, geometric_means(values), JAX_CEILINGS[precision]))
    return rows


def _counts(section: Section, comparison: Comparison, precision: str) -> bool:
    cells = section.cells
    over, under = cells[comparison.over], cells[comparison.under]
    return is_main(over, precision) and under.name == peers.JAX


def geometric_means(values: list[Array]) -> Array:
    """Return the geometric mean over the ratios in each round.

    Each section keeps other rounds.  The first kept rounds of all sections are combined, then
    the second ones, as many as all sections have.
    """
    rounds = min(len(v) for v in values)
    return np.asarray(np.exp(np.mean([np.log(v[:rounds]) for v in values], axis=0)))


def _ratios(section: Section, good: list[Round]) -> list[dict[str, Any]]:
    return [
        _ratio(comparison.text, ratios(section, comparison, good), comparison.bound)
        for comparison in comparisons(section)
    ]


def _ratio(text: str, values: Array, bound: Bound | None) -> dict[str, Any]:
    ratio = spread(values)
    row: dict[str, Any] = {"text": text, "ratio": ratio}
    if bound is not None:
        row["asked"] = bound.text
        row["met"] = ratio and bound.met(ratio["median"])
    return row


def _round(made: Round, is_kept: bool) -> dict[str, Any]:
    return {
        "kept": is_kept,
        "seconds": made.seconds,
        "others_share": round(made.others, 4),
        "fma_peak_gflops": made.peaks.round(1).tolist(),
    }
