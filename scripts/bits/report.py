"""The findings for people (a table) and for programs (JSON)."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.report import RESULTS, slug, versions
from bits.cases import Plan
from hpcpgd.environment import provenance
from hpcpgd.machine.cores import affinity


def default_path() -> Path:
    """Return where the findings of this machine and day go."""
    return RESULTS / f"{slug(provenance.cpu_model())}-{datetime.now(UTC):%Y-%m-%d}/check_bits.json"


def about(plan: Plan) -> dict[str, Any]:
    """Return what the bits hang on, and what is covered; names no host and no path."""
    return {
        "check": "check_bits",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu_model": provenance.cpu_model(), "cores_used": len(affinity())},
        "versions": versions(),
        "git_revision": provenance.git_revision(),
        "plan": asdict(plan),
    }


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the findings as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table(found: dict[str, Any]) -> str:
    """Return the findings as text: a line for each group, and everything that is wrong."""
    head = f"{'configuration':12} {'seed':>4} {'dtype':8} {'core type':9} {'runs':>5} "
    lines = [f"{head}{'weights':>7} {'histories':>9} {'error':>8}"]
    lines += [_line(group) for group in found["groups"]]
    lines += [f"{kind}: {name}" for kind in KINDS for name in found[kind]]
    seeds = ", ".join(map(str, found["plan"]["seeds"]))
    lines.append(
        f"{found['runs']} runs (seeds {seeds}) on 1 to {max(found['plan']['ranks'])} ranks, "
        f"{found['comparisons']} comparisons, {len(found['mismatches'])} mismatches, "
        f"{len(found['wrong'])} far from reference, {len(found['failed'])} jobs failed"
        f"{'' if found['complete'] else '; NOT COMPLETE'}"
    )
    return "\n".join(lines)


KINDS = ("mismatches", "wrong", "failed")


def _line(group: dict[str, Any]) -> str:
    what = f"{group['case']:12} {group['seed']:4} {group['dtype']:8} {group['core_type']:9}"
    counts = f"{group['distinct_weights']:7} {group['distinct_histories']:9}"
    return f"{what} {group['runs']:5} {counts} {group['reference_error']:8.1e}"
