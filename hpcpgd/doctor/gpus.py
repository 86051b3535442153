"""The GPUs of a node: whether they can be used, who shares them, and how MPI sums their data."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpcpgd.doctor.finding import Finding, ok, warning
from hpcpgd.doctor.probe import ask
from hpcpgd.environment.provenance import has_driver

SUBJECT = "GPU"
PROBE_SECONDS = 60.0
CROWDED = 0.5  # share of free memory; with less, somebody else computes on the GPU


@dataclass(frozen=True)
class Gpus:
    """The GPUs of a node.

    Attributes
    ----------
    driver, cupy : bool
        Whether NVIDIA's driver is loaded, and whether CuPy is installed.
    refused : str
        Why backend ``cuda`` cannot work, "" if it can or was not tried.
    devices : tuple of (str, int, int)
        Name, free bytes and total bytes of each.
    unaware : str
        Why MPI does not sum on GPUs; "" if it does or was not tried.
    """

    driver: bool
    cupy: bool
    refused: str = ""
    devices: tuple[tuple[str, int, int], ...] = ()
    unaware: str = ""


def observe(ranks: int) -> Gpus:
    """Return the GPUs of this node, as separate processes see them; the job has ``ranks``."""
    driver = has_driver()
    cupy = importlib.util.find_spec("cupy") is not None
    if not cupy:
        return Gpus(driver, cupy)
    out, trouble = ask("hpcpgd.doctor.gpu_facts", seconds=PROBE_SECONDS)
    if trouble:
        return Gpus(driver, cupy, f"CuPy's probe: {trouble}")
    facts: Mapping[str, Any] = json.loads(out)
    devices = tuple((str(name), int(free), int(size)) for name, free, size in facts["devices"])
    unaware = ""
    if devices and ranks > 1:
        from hpcpgd.machine.gpu import why_mpi_is_not_gpu_aware

        unaware = why_mpi_is_not_gpu_aware()
    return Gpus(driver, cupy, str(facts["refused"]), devices, unaware)


def judge(seen: Gpus, ranks: int) -> list[Finding]:
    """Judge whether backend ``cuda`` can work with ``ranks`` on the node."""
    if not seen.driver and not seen.devices:
        return [ok(SUBJECT, "none here: backend gemm, the default, needs none")]
    if not seen.cupy:
        text = "NVIDIA's driver is installed, CuPy is not: backend cuda cannot be used"
        cure = "pip install 'hpcpgd[gpu13]' (CUDA 13) or 'hpcpgd[gpu]' (CUDA 12), never both"
        return [warning(SUBJECT, text, cure)]
    if seen.refused:
        cure = "take --backend gemm, or run where nvidia-smi lists a GPU that CuPy can use"
        return [warning(SUBJECT, seen.refused, cure)]
    return _of_devices(seen, ranks)


def _of_devices(seen: Gpus, ranks: int) -> list[Finding]:
    """Judge GPUs that can be used."""
    findings = []
    names = ", ".join(f"{name} ({free / 2**30:.0f} GiB free)" for name, free, _ in seen.devices)
    if ranks > len(seen.devices):
        text = f"{names}: {ranks} ranks of a node share {len(seen.devices)}"
        findings.append(warning(SUBJECT, text, "with backend cuda start one rank a GPU"))
    full = [name for name, free, size in seen.devices if free < CROWDED * size]
    if full:
        text = f"{names}: more than half of the memory is taken"
        findings.append(warning(SUBJECT, text, "see with nvidia-smi which processes use the GPU"))
    if seen.unaware:
        text = f"{seen.unaware}: gradients go through the host's memory"
        cure = (
            "take an MPI built for CUDA: Open MPI with UCX and CUDA, or MPICH with "
            "MPIR_CVAR_ENABLE_GPU=1"
        )
        findings.append(warning(SUBJECT, text, cure))
    return findings or [ok(SUBJECT, f"{names}: can be used with --backend cuda")]
