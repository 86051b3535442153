"""How fast the cores and the memory of each node are, against their peak and each other."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from hpcpgd.doctor.finding import Finding, Place, hosts, in_words, ok, warning
from hpcpgd.doctor.probe import ask
from hpcpgd.parallel import mpi

SUBJECT = "speed"
PROBE_SECONDS = 60.0  # the first probe on a processor compiles its loops
START_SECONDS = 2.5  # in which every rank's probe has loaded NumPy and numba
# OpenBLAS reaches 0.75 to 0.92 of the peak on one core of an idle processor.
OF_PEAK = 0.6
# All cores together run at a lower clock: 0.6 to 1 of the peak of one core each.
OF_ONE_CORE = 0.5
APART = 0.15  # by which a rank or a node may be slower than the median
NAMES = ("fma_one", "gemm_one", "fma_all", "gemm_all", "triad_all")


@dataclass(frozen=True)
class Rates:
    """What one rank measured, in 10⁹ a second; all ranks of a node measured at the same time.

    Attributes
    ----------
    threads : int
        Of this rank.
    fma_one, gemm_one : float
        Peak and products of one core while the others slept; NaN but on a node's first rank.
    fma_all, gemm_all, triad_all : float
        Peak, products and bytes of STREAM's triad on all threads of the rank.
    trouble : str
        Why nothing was measured, "" if something was.
    """

    threads: int
    fma_one: float = math.nan
    gemm_one: float = math.nan
    fma_all: float = math.nan
    gemm_all: float = math.nan
    triad_all: float = math.nan
    trouble: str = ""


def observe(ranks: mpi.Ranks, threads: int) -> list[Rates]:
    """Return what every rank measures on ``threads`` threads; collective."""
    start = np.array([time.monotonic() + START_SECONDS])
    mpi.bcast(ranks.node, start)
    words = (str(threads), str(float(start[0])), str(int(ranks.node.rank == 0)))
    out, trouble = ask("hpcpgd.doctor.node_probe", *words, seconds=PROBE_SECONDS)
    seen = {"threads": threads, "trouble": trouble} | ({} if trouble else json.loads(out))
    mpi.patient_barrier(ranks.comm)
    rows = mpi.allgather_texts(ranks.comm, json.dumps(seen))
    return [Rates(**json.loads(row)) for row in rows]


def per_node(rates: Sequence[Rates], places: Sequence[Place]) -> dict[str, dict[str, float]]:
    """Return the rates of each node by its name: those of all cores are summed over its ranks."""
    nodes: dict[str, dict[str, float]] = {}
    for one, place in zip(rates, places, strict=True):
        node = nodes.setdefault(place.host, dict.fromkeys(NAMES, 0.0) | {"threads": 0.0})
        node["threads"] += one.threads
        for name in NAMES:
            alone = name.endswith("_one")
            if not alone or place.index == 0:
                node[name] += getattr(one, name)
    return nodes


def middle_of(nodes: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the median over the nodes of each rate, and of their threads."""
    return {name: median(node[name] for node in nodes.values()) for name in (*NAMES, "threads")}


def judge(rates: Sequence[Rates], places: Sequence[Place], *, shared: bool) -> list[Finding]:
    """Compare products with the peak, all cores with one, ranks and nodes with their median.

    ``shared`` says that the ranks had to share their cores, with others or among themselves.
    """
    failed = [rank for rank, one in enumerate(rates) if one.trouble]
    if failed:
        text = f"{in_words(failed, places)}: {rates[failed[0]].trouble}"
        return [warning(SUBJECT, text, "see whether Python starts there")]
    nodes = per_node(rates, places)
    middle, note = middle_of(nodes), ", measured on shared cores" if shared else ""
    text = f"{middle['triad_all']:.0f} GB/s in STREAM's triad, {middle['threads']:.0f} threads"
    findings = [_of_products(middle, note), ok("bandwidth", f"{text}{note}")]
    return findings if shared else [*findings, *_spread(rates, nodes, places)]


def _of_products(middle: dict[str, float], note: str) -> Finding:
    one, every = (middle[f"gemm_{name}"] / middle[f"fma_{name}"] for name in ("one", "all"))
    clock = middle["fma_all"] / (middle["fma_one"] * middle["threads"])
    text = (
        f"one core {middle['gemm_one']:.0f} GFLOP/s in products, {one:.2f} of its peak; "
        f"{middle['threads']:.0f} threads {middle['gemm_all']:.0f} GFLOP/s, {every:.2f} of their "
        f"peak{note}"
    )
    if one < OF_PEAK:
        cure = "see the line BLAS, end what else runs here, or name another library in HPCPGD_BLAS"
        return warning(SUBJECT, text, cure)
    if every < OF_PEAK or clock < OF_ONE_CORE:
        text = f"{text}; each of all cores reaches {clock:.2f} of the peak of one core alone"
        cure = "end what else runs here; let each thread have a core of its own; see its cooling"
        return warning(SUBJECT, text, cure)
    return ok(SUBJECT, text)


def _spread(
    rates: Sequence[Rates], nodes: dict[str, dict[str, float]], places: Sequence[Place]
) -> list[Finding]:
    """Name the nodes, or else the ranks, that are slower a thread than the median."""
    findings = []
    for what, name in (("products", "gemm_all"), ("memory", "triad_all")):
        by_node = [node[name] / node["threads"] for node in nodes.values()]
        by_rank = [getattr(one, name) / one.threads for one in rates]
        if slow := _slow(by_node):
            names = list(nodes)
            first = [[place.host for place in places].index(names[number]) for number in slow]
            findings.append(_outlier(f"{what} {hosts(first, places)}", by_node, slow))
        elif slow := _slow(by_rank):
            findings.append(_outlier(f"{what} of {in_words(slow, places)}", by_rank, slow))
    return findings


def _slow(values: Sequence[float]) -> list[int]:
    least = (1 - APART) * median(values)
    return [number for number, value in enumerate(values) if value < least]


def _outlier(what: str, values: Sequence[float], slow: Sequence[int]) -> Finding:
    share = min(values[number] for number in slow) / median(values)
    cure = "see what else runs there, its binding and its cooling, or leave it out"
    return warning(SUBJECT, f"{what}: down to {share:.2f} of the median", cure)
