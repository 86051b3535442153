"""What the paper's study prints: times, and what became of the claims."""

from __future__ import annotations

from collections.abc import Sequence

from hpcpgd.config.run_config import NETWORKS
from hpcpgd.study.paper.bar_charts import Legend
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.verdict import Verdict
from hpcpgd.study.summary import Summary
from hpcpgd.study.tables import SCALED, aligned, scaled_note, time


def times_table(results: Results, legend: Legend) -> str:
    """Return the time per epoch of every row, network and batch size."""
    head = ("time per epoch", "network", *(f"batch {batch}" for batch in results.batches))
    lines, points = [], []
    for network in NETWORKS:
        for row in legend.rows:
            found = results.over_batches(row.name, network)
            points += list(found.values())
            missing = legend.absent.get(row.name, "-")
            cells = [_cell(found[b]) if b in found else missing for b in results.batches]
            lines.append((row.name, network, *cells))
    note = scaled_note(points)
    return aligned(head, lines) + (f"\n{note}" if note else "")


def _cell(point: Summary) -> str:
    return time(point.median) + (SCALED if point.scaled else "")


def claims_text(verdicts: Sequence[Verdict]) -> str:
    """Return a line for each claim of the paper's section 6."""
    return "\n".join(
        f"({v.letter}) {v.verdict}: {v.claim}" + (f": {v.numbers}" if v.numbers else "")
        for v in verdicts
    )
