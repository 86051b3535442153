"""Medians and quartiles of the rounds, as plain data for the table and for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.comparisons import comparisons, ratios, seconds
from bench.rounds import Round, Section, kept
from bench.setting import EXAMPLES
from hpcpgd.kernels.network import Array


def spread(values: Array) -> dict[str, float] | None:
    """Return median and quartiles, None of nothing."""
    if values.size == 0:
        return None
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "q1": float(low), "q3": float(high)}


def section_summary(section: Section, best: Array) -> dict[str, Any]:
    """Return what one section showed; ``best`` are the FMA peaks of the cores (2,)."""
    good = kept(section.rounds, best)
    return {
        "network": section.network,
        "widths": list(section.shape.widths),
        "batch": section.batch,
        "flops_per_example": section.shape.flops_per_example,
        "rounds_kept": len(good),
        "rounds_dropped": len(section.rounds) - len(good),
        "cells": [_cell(section, k, good) for k in range(len(section.cells))],
        "ratios": _ratios(section, good),
        "rounds": [_round(r, any(r is g for g in good)) for r in section.rounds],
    }


def _cell(section: Section, number: int, good: list[Round]) -> dict[str, Any]:
    cell = section.cells[number]
    times = seconds(section, number, good)
    rates = section.shape.flops_per_example * EXAMPLES / times / 1e9
    peaks = np.array([r.peaks.mean() for r in good])  # of one core, in the same round
    return {
        "name": cell.name,
        "placement": cell.placement.label,
        "ranks": cell.placement.ranks,
        "threads": cell.placement.threads,
        "steps": cell.steps,
        "seconds_per_60000": spread(times),
        "gflops": spread(rates),
        "of_fma_peak": spread(rates / (peaks * cell.placement.cores)),
    }


def _ratios(section: Section, good: list[Round]) -> list[dict[str, Any]]:
    rows = []
    for comparison in comparisons(section):
        found = spread(ratios(section, comparison, good))
        row: dict[str, Any] = {"text": comparison.text, "ratio": found}
        if comparison.bound is not None:
            row["asked"] = comparison.bound.text
            row["met"] = found and comparison.bound.met(found["median"])
        rows.append(row)
    return rows


def _round(made: Round, is_kept: bool) -> dict[str, Any]:
    return {
        "kept": is_kept,
        "seconds": made.seconds,
        "others_share": round(made.others, 4),
        "fma_peak_gflops": made.peaks.round(1).tolist(),
    }
