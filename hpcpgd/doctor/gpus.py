"""GPUs: are there any, can they be used, who shares them, how sums go over MPI."""

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
CROWDED = 0.5  # of its memory free: less, and somebody else computes there


@dataclass(frozen=True)
class Gpus:
    """The GPUs of a node.

    Attributes
    ----------
    driver, cupy : bool
        Whether NVIDIA's driver is loaded, and CuPy installed.
    refused : str
        Why backend ``cuda`` cannot work, "" if it can or was not asked.
    devices : tuple of (str, int, int)
        Name, free and all bytes of each.
    unaware : str
        Why MPI does not sum on GPUs; "" if it does or was not asked.
    """

    driver: bool
    cupy: bool
    refused: str = ""
    devices: tuple[tuple[str, int, int], ...] = ()
    unaware: str = ""


def observe(ranks: int) -> Gpus:
    """Return what is seen on this node, by processes of their own; ``ranks`` of the job."""
    driver = has_driver()
    cupy = importlib.util.find_spec("cupy") is not None
    if not cupy:
        return Gpus(driver, cupy)
    out, trouble = ask("hpcpgd.doctor.gpu_facts", seconds=PROBE_SECONDS)
    if trouble:
        return Gpus(driver, cupy, f"CuPy's probe: {trouble}")
    told: Mapping[str, Any] = json.loads(out)
    devices = tuple((str(name), int(free), int(size)) for name, free, size in told["devices"])
    unaware = ""
    if devices and ranks > 1:
        from hpcpgd.machine.gpu import why_mpi_is_not_gpu_aware

        unaware = why_mpi_is_not_gpu_aware()
    return Gpus(driver, cupy, str(told["refused"]), devices, unaware)


def judge(seen: Gpus, ranks: int) -> list[Finding]:
    """Say what backend ``cuda`` would meet with ``ranks`` on the node."""
    if not seen.driver and not seen.devices:
        return [ok(SUBJECT, "none here: backend gemm, the default, needs none")]
    if not seen.cupy:
        text = "NVIDIA's driver is here, CuPy is not: backend cuda cannot be used"
        cure = "pip install 'hpcpgd[gpu13]' (CUDA 13) or 'hpcpgd[gpu]' (CUDA 12), never both"
        return [warning(SUBJECT, text, cure)]
    if seen.refused:
        cure = "take --backend gemm, or run where nvidia-smi lists a GPU that CuPy can use"
        return [warning(SUBJECT, seen.refused, cure)]
    return _of_devices(seen, ranks)


def _of_devices(seen: Gpus, ranks: int) -> list[Finding]:
    """Judge GPUs that can be used."""
    found = []
    names = ", ".join(f"{name} ({free / 2**30:.0f} GiB free)" for name, free, _ in seen.devices)
    if ranks > len(seen.devices):
        text = f"{names}: {ranks} ranks of a node share {len(seen.devices)}"
        found.append(warning(SUBJECT, text, "with backend cuda start one rank a GPU"))
    full = [name for name, free, size in seen.devices if free < CROWDED * size]
    if full:
        text = f"{names}: more than half of the memory is taken"
        found.append(warning(SUBJECT, text, "see with nvidia-smi who computes there"))
    if seen.unaware:
        text = f"{seen.unaware}: gradients go through the host's memory"
        cure = (
            "take an MPI built for CUDA: Open MPI with UCX and CUDA, or MPICH with "
            "MPIR_CVAR_ENABLE_GPU=1"
        )
        found.append(warning(SUBJECT, text, cure))
    return found or [ok(SUBJECT, f"{names}: --backend cuda uses {'it' if ranks == 1 else 'them'}")]
