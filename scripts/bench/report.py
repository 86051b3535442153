"""The results as data for programs, and as a table for people."""

from __future__ import annotations

from typing import Any

from hpcpgd.environment import provenance
from scripts.bench import launcher
from scripts.bench.peers import DATA, Peers
from scripts.bench.placement import Cores
from scripts.bench.rounds import Section, all_rounds, best_peaks
from scripts.bench.summary import overall, section_summary
from scripts.findings import about


def results(
    sections: list[Section], errors: dict[str, float], blas: Any, cores: Cores, wanted: int,
    peers: Peers,
) -> dict[str, Any]:  # fmt: skip
    """Return all results, ready for JSON; they name no host and no path."""
    best = best_peaks(all_rounds(sections))
    return {
        **about(
            "bench_train", cores_used=cores.count, pinned=cores.pinned,
            fma_peak_gflops=best.round(1).tolist(),
        ),
        "blas": provenance.blas_library(blas),
        "unset_variables": launcher.unset(),
        "rounds_wanted": wanted,
        "peers": {"software": peers.software, "left_out": peers.left_out, "data": DATA},
        "gradient_errors": errors,
        "sections": [section_summary(section, best) for section in sections],
        "overall": overall(sections, best),
    }  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the results as text: medians, with quartiles in brackets."""
    machine, peaks = data["machine"], data["machine"]["fma_peak_gflops"]
    pinned = "each rank pinned to one" if machine["pinned"] else "ranks not pinned"
    lines = [
        f"{machine['cpu_model']}, {machine['cores_used']} cores, {pinned}; "
        f"FMA peak {' and '.join(f'{p:.0f}' for p in peaks)} GFLOP/s (float32)",
        f"BLAS {data['blas']}; {data['versions']['mpi']}",
        f"worst relative error against reference {max(data['gradient_errors'].values()):.1e}",
    ]
    if data["unset_variables"]:
        lines.append(f"set in the shell, removed here: {', '.join(data['unset_variables'])}")
    if not data["versions"]["cc"]:
        lines.append("no C compiler (cc) on the path: loops is not compared with C")
    lines += peer_lines(data["peers"])
    for section in data["sections"]:
        lines += ["", *section_lines(section)]
    if data["overall"]:
        lines += ["", "all sections", *ratio_lines(data["overall"])]
    return "\n".join(lines)


def peer_lines(peers: dict[str, Any]) -> list[str]:
    """Return lines on the versions and data of peers, and on those that are left out."""
    left_out = [f"{name} is left out: {why}" for name, why in peers["left_out"].items()]
    if not peers["software"]:
        return left_out or ["no other library is timed: --peers-python names none"]
    versions = ", ".join(dict.fromkeys(peers["software"].values()))
    return [f"peers: {versions}", peers["data"], *left_out]


def section_lines(section: dict[str, Any]) -> list[str]:
    """Return the lines of one section."""
    widths = "-".join(map(str, section["widths"]))
    head = (
        f"{section['network']} ({widths}), batch {section['batch']}: "
        f"{section['rounds_kept']} rounds kept, {section['rounds_dropped']} dropped"
    )
    columns = f"  {'':38} {'s / 60,000 examples':26} {'GFLOP/s':>8} {'of peak':>8}"
    ratios = ratio_lines(section["ratios"])
    notes = dict.fromkeys(f"  {c['name']}: {c['note']}" for c in section["cells"] if "note" in c)
    return [head, columns, *(_cell(cell) for cell in section["cells"]), *notes, *ratios]


def _cell(cell: dict[str, Any]) -> str:
    label = f"{cell['name']}, {cell['placement']}"
    if cell["gflops"] is None:
        return f"  {label:38} every round was disturbed"
    rate, share = cell["gflops"]["median"], cell["of_fma_peak"]["median"]
    return f"  {label:38} {_spread(cell['seconds_per_60000']):26} {rate:8.1f} {share:8.0%}"


def ratio_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each ratio, in columns."""
    width = max((len(row["text"]) for row in rows), default=0)
    return [f"  {row['text']:{width}}  {_ratio(row)}".rstrip() for row in rows]


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return "unknown"
    asked = f"asked: {row['asked']}{'' if row['met'] else ', MISSED'}" if "asked" in row else ""
    return f"{_spread(row['ratio']):24} {asked}"


def _spread(values: dict[str, float]) -> str:
    return f"{values['median']:.3f} [{values['q1']:.3f}, {values['q3']:.3f}]"
