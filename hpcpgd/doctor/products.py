"""Matrix products: the BLAS, its kernel, its speed, and what slows it down."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.doctor.finding import Finding, ok, problem, warning
from hpcpgd.doctor.gemm_probe import FLOPS
from hpcpgd.doctor.probe import Probe
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.blas import mkl

SUBJECT = "BLAS"
MODULE = "hpcpgd.doctor.gemm_probe"
PROBE_SECONDS = 30.0
ROUNDS = 15
# Variables that choose another kernel or block size than the library would.
VARIABLES = (
    *("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"),
    *("MKL_DEBUG_CPU_TYPE", "BLIS_ARCH_TYPE"),
)
HARMLESS = 0.9  # of the speed: the clock frequency varies as much
# OpenBLAS's kernels for x86 without AVX-512.
WITHOUT_AVX512 = (
    *("prescott", "core2", "penryn", "dunnington", "nehalem", "sandybridge", "haswell", "zen"),
    *("atom", "opteron", "barcelona", "bobcat", "bulldozer", "piledriver", "steamroller"),
    "excavator",
)


@dataclass(frozen=True)
class Products:
    """The BLAS of a node.

    Attributes
    ----------
    blas : str
        Name, version, kernel and file of the library.
    kernel : str
        Name of the kernel, "" if it is unknown.
    stand_in : bool
        Whether NumPy must be called instead of the library.
    avx512 : bool
        Whether the processor has AVX-512.
    variables : dict
        The variables of ``VARIABLES`` that are set, with their values.
    gflops : float
        Rate of one thread; 0 if it was not measured.
    without : float
        The rate without ``variables``.
    ratio : float
        Ratio of both rates, from times measured in turns.
    refused : str
        Why the library cannot be used.
    trouble : str
        Why the measurement failed.
    mkl, mkl_trouble : float, str
        Rate of oneMKL, 0 without its wheel or where it is the library in use; why it has none.
    """

    blas: str = ""
    kernel: str = ""
    stand_in: bool = False
    avx512: bool = False
    variables: Mapping[str, str] | None = None
    gflops: float = 0.0
    without: float = 0.0
    ratio: float = 1.0
    refused: str = ""
    trouble: str = ""
    mkl: float = 0.0
    mkl_trouble: str = ""


def observe(environ: Mapping[str, str] = os.environ) -> Products:
    """Find the library, and measure it in processes of their own."""
    from hpcpgd.environment.provenance import blas_library, blas_pool
    from hpcpgd.kernels.blas.blas_library import Blas
    from hpcpgd.machine.resources import find_blas

    given = {name: environ[name] for name in VARIABLES if environ.get(name)}
    try:
        blas = find_blas("gemm")
    except UnavailableError as error:
        return Products(refused=str(error))
    callable_blas = isinstance(blas, Blas)
    beside_mkl = mkl.installed() != "" and not (isinstance(blas, Blas) and blas.mkl)
    return Products(
        blas=blas_library(blas) if callable_blas else "np.matmul",
        kernel=blas_pool(blas.path).get("architecture") or "" if callable_blas else "",
        stand_in=not callable_blas,
        avx512=_has_avx512(),
        variables=given,
        **_measure(given, environ, beside_mkl),
    )


def _measure(
    given: Mapping[str, str], environ: Mapping[str, str], beside_mkl: bool
) -> dict[str, Any]:
    """Return GFLOP/s in the environment, without ``given`` and of oneMKL, or the trouble.

    These are medians of times taken in turns, so that other load slows all equally.
    """
    environments = [environ]
    if given:
        environments.append({k: v for k, v in environ.items() if k not in given})
    without = len(environments) - 1
    if beside_mkl:
        environments.append({**environ, "HPCPGD_BLAS": mkl.NAME})
    seconds = np.full((ROUNDS, len(environments)), np.nan)
    with ExitStack() as stack:
        probes = [
            stack.enter_context(Probe(MODULE, seconds=PROBE_SECONDS, environ=one))
            for one in environments
        ]
        for round_, number in np.ndindex(seconds.shape):
            if answer := probes[number].ask():
                seconds[round_, number] = float(answer)
            elif number <= without:
                return {"trouble": probes[number].trouble}
    speeds = FLOPS / np.median(seconds, axis=0) / 1e9
    ratio = float(np.median(seconds[:, without] / seconds[:, 0]))
    rates = {"gflops": float(speeds[0]), "without": float(speeds[without]), "ratio": ratio}
    of_mkl = {"mkl": float(speeds[-1]), "mkl_trouble": probes[-1].trouble}
    return rates | of_mkl if beside_mkl else rates


def _has_avx512() -> bool:
    if sys.platform != "linux":
        return False
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return any("avx512f" in line.split() for line in lines if line.startswith("flags"))


def judge(seen: Products, note: str = "") -> list[Finding]:
    """Judge the library, and its speed unless a ``note`` says why not; name oneMKL's speed."""
    found = _judge_library(seen, note)
    if seen.mkl_trouble:
        cure = "pip install --force-reinstall mkl, or pip uninstall mkl"
        found.append(warning("oneMKL", f"HPCPGD_BLAS=mkl fails: {seen.mkl_trouble}", cure))
    elif seen.mkl:
        speeds = f"{seen.mkl:.0f} GFLOP/s on one thread in float32, {seen.gflops:.0f} without it"
        found.append(ok("oneMKL", f"HPCPGD_BLAS=mkl: {speeds}{note}"))
    return found


def judge_tiles() -> list[Finding]:
    """Say whether this processor has the units that products in bfloat16 need."""
    from hpcpgd.kernels.tiles.amx import refusal

    failing = f"{refusal()}: they would end with exit code {UnavailableError.exit_code}"
    seen = failing if refusal() else "this processor can run them"
    return [ok("AMX", f"--matmul-precision bf16 and bf16x6: {seen}")]


def _judge_library(seen: Products, note: str) -> list[Finding]:
    if seen.refused:
        cure = "name another library in HPCPGD_BLAS, or unset it"
        return [problem(SUBJECT, seen.refused, cure, UnavailableError.exit_code)]
    if seen.trouble:
        cure = "try train --backend loops, and another library in HPCPGD_BLAS"
        return [warning(SUBJECT, f"{seen.blas}: {seen.trouble}", cure)]
    speed = f"{seen.blas}: {seen.gflops:.0f} GFLOP/s on one thread in float32{note}"
    if seen.stand_in:
        text = f"NumPy's library exports no cblas_sgemm, each product goes through {speed}"
        return [warning(SUBJECT, text, "pip install scipy-openblas32, or set HPCPGD_BLAS")]
    given = seen.variables or {}
    shown = ", ".join(f"{name}={value}" for name, value in given.items())
    if given and seen.ratio < HARMLESS and not note:
        text = f"{shown}: {seen.gflops:.0f} GFLOP/s, {seen.without:.0f} without it"
        cure = f"unset {' '.join(given)}"
        return [warning(SUBJECT, f"{text}: products at {seen.ratio:.2f} of their speed", cure)]
    if seen.avx512 and seen.kernel.lower() in WITHOUT_AVX512:
        text = f"{speed}: kernel {seen.kernel} leaves this processor's AVX-512 unused"
        return [warning(SUBJECT, text, _newer(given))]
    cost = f"{seen.without:.0f} GFLOP/s without it" if note else "costs nothing"
    return [ok(SUBJECT, f"{speed}; {shown}: {cost}" if given else speed)]


def _newer(given: Mapping[str, str]) -> str:
    if "OPENBLAS_CORETYPE" in given:
        return "unset OPENBLAS_CORETYPE"
    return "pip install scipy-openblas32 and name its library in HPCPGD_BLAS, or a newer NumPy"
