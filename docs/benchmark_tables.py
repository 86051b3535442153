"""Tables of the page of benchmarks, from the files under ``scripts/results``.

``python docs/benchmark_tables.py`` prints the table of README.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

TITLE = "# Tables of the benchmarks\n\n## Times of a training step"
RESULTS = Path(__file__).parents[1] / "scripts" / "results"
# What a check counts, and what must then be 0.
COUNTS = {
    "check_bits": ("runs", ("mismatches", "wrong", "failed")),
    "check_threads": ("trainings", ("crashes", "hangs", "wrong")),
    "check_precision": ("bounds", ("missed",)),
}

# The file that README.md has its table of speed from, and the programs there on two cores.
README_FILE = RESULTS / "intel-r-xeon-r-processor-2026-11-30" / "bench_train.json"
README_COLUMNS = {
    "hpcpgd": ("gemm shared", "2 ranks"),
    "bf16x6": ("gemm shared bf16x6", "2 ranks"),
    "bf16": ("gemm shared bf16", "2 ranks"),
    "floor": ("floor", "2 ranks"),
    "JAX": ("JAX", "1 rank x 2 threads"),
    "torch.compile": ("PyTorch compile", "1 rank x 2 threads"),
    "PyTorch DDP": ("PyTorch DDP", "2 ranks"),
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; bars within cells are escaped."""
    names = [*head]
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in line)} |" for line in lines
    )


def benchmark_tables() -> str:
    """Return the page of the tables."""
    steps = [_steps(path) for path in sorted(RESULTS.glob("*/bench_train.json"), reverse=True)]
    claims = [_claims(path) for path in sorted(RESULTS.glob("*/paper-quick/report.txt"))]
    return "\n\n".join([TITLE, *steps, *claims, _checks()]) + "\n"


def readme_table() -> str:
    """Return the table of speed in README.md."""
    rows = []
    for part in json.loads(README_FILE.read_text())["sections"]:
        medians = {
            (c["name"], c["placement"]): f"{c['seconds_per_60000']['median']:.2f}"
            for c in part["cells"]
        }
        if all(cell in medians for cell in README_COLUMNS.values()):  # not the section of loops
            ours, *others = (medians[cell] for cell in README_COLUMNS.values())
            rows.append((f"{part['network']}, {part['batch']}", f"**{ours}**", *others))
    return table(("network, batch", *README_COLUMNS), rows)


def _about(path: Path, found: dict[str, Any]) -> str:
    """Return what the numbers of a file were measured on, and when."""
    machine, name = found["machine"], path.relative_to(RESULTS.parents[1])
    peaks = " and ".join(f"{peak:.0f}" for peak in machine["fma_peak_gflops"])
    peers = ", ".join(dict.fromkeys(found.get("peers", {}).get("software", {}).values()))
    return (
        f"### {machine['cpu_model']}, {found['date'][:10]}\n\n"
        f"{machine['cores_used']} cores with a peak of {peaks} GFLOP/s in float32. "
        f"Revision `{found['git_revision'][:12]}`, {found['blas'].split(' (')[0]}, "
        f"{found['versions']['mpi']}. {f'Others: {peers}. ' if peers else ''}From `{name}`."
    )


def _steps(path: Path) -> str:
    """Return the tables of one benchmark of the training step."""
    found = json.loads(path.read_text())
    sections: dict[str, dict[tuple[str, str], str]] = {}
    for part in found["sections"]:
        cells = sections.setdefault(f"{part['network']}, {part['batch']}", {})
        cells |= {(c["name"], c["placement"]): _spread(c) for c in part["cells"]}
    labels = dict.fromkeys(label for cells in sections.values() for label in cells)
    rows = [
        (name, place, *(cells.get((name, place), "") for cells in sections.values()))
        for name, place in labels
    ]
    asked = [
        (part, row["text"], f"{row['ratio']['median']:.2f}", row["asked"], _met(row["met"]))
        for part, row in _asked(found)
    ]
    return "\n\n".join(
        [
            _about(path, found),
            "Seconds per 60,000 examples: the median over the rounds, and the quartiles.",
            table(("program", "on", *sections), rows),
            "What the project asks of ratios of these times, and whether it is met:",
            table(("network, batch", "ratio", "median", "asked", "met"), asked),
        ]
    )


def _spread(cell: dict[str, Any]) -> str:
    times = cell["seconds_per_60000"]
    return f"**{times['median']:.2f}** ({times['q1']:.2f} to {times['q3']:.2f})"


def _met(met: bool) -> str:
    return "yes" if met else "**no**"


def _asked(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in found["sections"]:
        for row in part["ratios"]:
            if "asked" in row:
                yield f"{part['network']}, {part['batch']}", row
    for row in found.get("overall") or ():
        yield "all", row


def _claims(path: Path) -> str:
    """Return the claims of the paper, held against the numbers of a study."""
    first, *lines = path.read_text().splitlines()
    rows: list[Sequence[str]] = [
        match.groups(default="")
        for line in lines
        if (match := re.match(r"\((\w)\) ([^:]+): ([^:]+)(?:: (.*))?", line))
    ]
    return (
        f"## The claims of the paper\n\n{first}. From `{path.relative_to(RESULTS.parents[1])}`.\n\n"
        f"{table(('claim', 'here', 'what the paper says', 'what was measured'), rows)}"
    )


def _checks() -> str:
    """Return what the checks counted."""
    rows: list[tuple[str, ...]] = []
    for path in sorted(RESULTS.glob("*/check_*.json")):
        found = json.loads(path.read_text())
        when = (found["machine"]["cpu_model"], found["date"][:10])
        for name, kind in found.get("kinds", {}).items():
            label = f"{found['check']} {name}"
            rows.append((label, str(kind["trials"]), _total(kind["wrong"]), *when))
        if found["check"] in COUNTS:
            number, zeros = COUNTS[found["check"]]
            wrong = sum(int(_total(found[zero])) for zero in zeros)
            rows.append((f"{found['check']} {number}", _total(found[number]), str(wrong), *when))
    head = ("check, and what it counts", "number", "wrong or missed", "processor", "date")
    return f"## Checks\n\n{table(head, rows)}"


def _total(count: int | Sized) -> str:
    return str(count if isinstance(count, int) else len(count))


if __name__ == "__main__":
    print(readme_table())
