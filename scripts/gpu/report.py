"""The results as data for programs, and as tables for people."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from hpcpgd.machine.gpu import Gpu
from scripts.bench.setting import EXAMPLES
from scripts.findings import about
from scripts.gpu.claims import Claim, claims
from scripts.gpu.kernels import Finding
from scripts.gpu.timing import Cell

PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "jax", "jaxlib", "mpi4py", "numba", "numpy", "torch")


def findings_table(findings: list[Finding]) -> str:
    """Return the comparisons that are wrong, and how many are right."""
    wrong = [f for f in findings if not f.right]
    lines = [f"WRONG {f.what}: error {f.error:.2e}, allowed {f.bound:.0e}" for f in wrong]
    right = len(findings) - len(wrong)
    return "\n".join([*lines, f"{right} of {len(findings)} comparisons with reference are right"])


def timing_table(cells: list[Cell]) -> str:
    """Return medians of seconds per 60,000 examples, with one line for each cell."""
    names = list(dict.fromkeys(n for cell in cells for n in (*cell.seconds, *cell.absent)))
    lines = ["".join(f"{head:>16}" for head in ("network", "batch", "precision", *names))]
    for cell in cells:
        row = f"{cell.network:>16}{cell.batch:>16}{cell.precision:>16}"
        times = [cell.median(name) * EXAMPLES / cell.batch for name in names]
        lines.append(row + "".join(f"{'-' if np.isnan(t) else f'{t:.4g}':>16}" for t in times))
    absent = {f"{name}: {why}" for cell in cells for name, why in cell.absent.items()}
    head = "seconds per 60,000 examples, medians"
    return "\n".join([head, *lines, *(f"absent: {text}" for text in sorted(absent))])


def claims_table(claims: list[Claim]) -> str:
    """Return required and measured values, with one line for each claim."""
    lines = []
    for claim in claims:
        sign = ">=" if claim.at_least else "<="
        lines.append(
            f"{claim.verdict():>14}  {claim.value:8.3g} {sign} {claim.asked:<6g} {claim.what}"
        )
    return "\n".join(lines)


def found_on(gpu: Gpu, findings: list[Finding], cells: list[Cell]) -> dict[str, Any]:
    """Return all results; numbers that are not finite are None."""
    return {
        **about("check_gpu", gpu_model=gpu.model, gpu_library=gpu.device.versions),
        "packages": {package: _version(package) for package in PACKAGES},
        "correctness": [
            {**asdict(finding), "error": _finite(finding.error)} for finding in findings
        ],
        "claims": [{**asdict(claim), "value": _finite(claim.value)} for claim in claims(cells)],
        "timing": [
            {**asdict(c), "errors": {name: _finite(e) for name, e in c.errors.items()}}
            for c in cells
        ],
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
