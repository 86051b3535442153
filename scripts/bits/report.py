"""The results as a table for people."""

from __future__ import annotations

from typing import Any


def table(results: dict[str, Any]) -> str:
    """Return the results as text: a line for each group, and one for each failure."""
    head = f"{'configuration':12} {'seed':>4} {'dtype':8} {'core type':9} {'runs':>5} "
    lines = [f"{head}{'weights':>7} {'histories':>9} {'error':>8}"]
    lines += [_line(group) for group in results["groups"]]
    lines += [f"{kind}: {name}" for kind in KINDS for name in results[kind]]
    seeds = ", ".join(map(str, results["plan"]["seeds"]))
    lines.append(
        f"{results['runs']} runs (seeds {seeds}) on 1 to {max(results['plan']['ranks'])} ranks, "
        f"{results['comparisons']} comparisons, {len(results['mismatches'])} mismatches, "
        f"{len(results['wrong'])} far from reference, {len(results['failed'])} jobs failed"
        f"{'' if results['complete'] else '; NOT COMPLETE'}"
    )
    return "\n".join(lines)


KINDS = ("mismatches", "wrong", "failed")


def _line(group: dict[str, Any]) -> str:
    what = f"{group['case']:12} {group['seed']:4} {group['dtype']:8} {group['core_type']:9}"
    counts = f"{group['distinct_weights']:7} {group['distinct_histories']:9}"
    return f"{what} {group['runs']:5} {counts} {group['reference_error']:8.1e}"
