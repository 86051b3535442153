"""The results as tables for people and as an HDF5 file for programs."""

from __future__ import annotations

import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from gpu.claims import Claim, claims
from gpu.kernels import Finding
from gpu.timing import Cell
from hpcpgd import __version__
from hpcpgd.environment import provenance
from hpcpgd.machine.gpu import Gpu

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("cupy-cuda12x", "cupy-cuda13x", "jax", "jaxlib", "mpi4py", "numba", "numpy", "torch")


def default_path(gpu: Gpu) -> Path:
    """Return where results of this machine and day go."""
    slug = re.sub(r"[^a-z0-9]+", "-", gpu.model.lower()).strip("-")
    return RESULTS / f"{slug}-{datetime.now(UTC):%Y-%m-%d}/check_gpu.h5"


def findings_table(findings: list[Finding]) -> str:
    """Return what was wrong, or how many comparisons were right."""
    wrong = [f for f in findings if not f.right]
    lines = [f"WRONG {f.what}: error {f.error:.2e}, allowed {f.bound:.0e}" for f in wrong]
    right = len(findings) - len(wrong)
    return "\n".join([*lines, f"{right} of {len(findings)} comparisons with reference are right"])


def names_of(cells: list[Cell]) -> list[str]:
    """Return everybody who was timed or absent, in the order of appearance."""
    return list(dict.fromkeys(n for cell in cells for n in (*cell.seconds, *cell.absent)))


def timing_table(cells: list[Cell]) -> str:
    """Return medians of seconds per 60,000 examples, one line a cell."""
    names = names_of(cells)
    lines = ["".join(f"{head:>16}" for head in ("network", "batch", "precision", *names))]
    for cell in cells:
        row = f"{cell.network:>16}{cell.batch:>16}{cell.precision:>16}"
        times = [cell.per_epoch(name) for name in names]
        lines.append(row + "".join(f"{'-' if np.isnan(t) else f'{t:.4g}':>16}" for t in times))
    absent = {f"{name}: {why}" for cell in cells for name, why in cell.absent.items()}
    head = "seconds per 60,000 examples, medians"
    return "\n".join([head, *lines, *(f"absent: {text}" for text in sorted(absent))])


def claims_table(claims: list[Claim]) -> str:
    """Return asked and measured, one line a figure."""
    lines = []
    for claim in claims:
        sign = ">=" if claim.at_least else "<="
        lines.append(
            f"{claim.verdict():>14}  {claim.value:8.3g} {sign} {claim.asked:<6g} {claim.what}"
        )
    return "\n".join(lines)


def write(path: Path, gpu: Gpu, findings: list[Finding], cells: list[Cell]) -> None:
    """Write the HDF5 file, over an older state of it; names no host and no path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["schema"] = "hpcpgd.check-gpu/1"
        file.attrs["date"] = datetime.now(UTC).isoformat(timespec="seconds")
        for key, value in _machine(gpu).items():
            file.attrs[key] = value
        for name in ("what", "error", "bound"):
            column = [getattr(finding, name) for finding in findings]
            file.create_dataset(f"correctness/{name}", data=column)
        for name in ("what", "value", "asked", "at_least"):
            file.create_dataset(f"claims/{name}", data=[getattr(c, name) for c in claims(cells)])
        for number, cell in enumerate(cells):
            _write_cell(file.create_group(f"timing/{number:03d}"), cell)


def _machine(gpu: Gpu) -> dict[str, Any]:
    found = {
        "gpu_model": gpu.model,
        "gpu_library": gpu.device.versions,
        "cpu_model": provenance.cpu_model(),
        "git_revision": provenance.git_revision(),
        "hpcpgd_version": __version__,
        "python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _write_cell(group: h5py.Group, cell: Cell) -> None:
    for name in ("network", "batch", "precision"):
        group.attrs[name] = getattr(cell, name)
    group.attrs["flops_per_example"] = cell.flops
    for name, seconds in cell.seconds.items():
        data = group.create_dataset(name, data=np.array(seconds))
        data.attrs["units"] = "s"
        data.attrs["long_name"] = "time of a step in each round"
        if name in cell.errors:
            data.attrs["relative_error"] = cell.errors[name]
    for name, why in cell.absent.items():
        group.attrs[f"absent: {name}"] = why
