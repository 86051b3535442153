"""How fast the cores and the memory of each node are, compared with their peak and each other."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from hpcpgd.doctor import memory
from hpcpgd.doctor.finding import Finding, Place, hosts, in_words, ok, warning
from hpcpgd.doctor.kept_rates import NAMES
from hpcpgd.doctor.probe import Probe
from hpcpgd.kernels.core.network import Array
from hpcpgd.machine.cores import cache_bytes
from hpcpgd.parallel import mpi

SUBJECT = "speed"
PROBE_SECONDS = 120.0  # the first probe on a processor compiles its loops
# A rate is the best of several windows, as in STREAM: others only make it lower.
WINDOWS = 3
LEAD_SECONDS = 0.1  # enough for every thread of a node to receive the time of the beginning
# Each of the triad's arrays, over all threads of a node, is so many times its last-level caches.
# STREAM has the same rule.
CACHES = 4
LEAST_BYTES = 2**25  # of an array in a thread, if the caches are small or unknown
MEMORY_SHARE = 0.1  # of the free memory: the most that the three arrays take together
PIECE_BYTES = 2**21  # of an array: the probe works on one piece at a time
# OpenBLAS reaches 0.75 to 0.92 of the peak on one core of an idle processor.
OF_PEAK = 0.6
# All cores together run at a lower clock: 0.6 to 1 of the peak of one core each.
OF_ONE_CORE = 0.5
APART = 0.15  # fraction by which a rank or a node may be slower than the median
ALL = (*NAMES, "threads", "array_bytes", "cache_bytes")
OF_FIRST = ("fma_one", "gemm_one", "cache_bytes")  # that only the first rank of a node reports


@dataclass(frozen=True)
class Rates:
    """The rates of one rank, in 10⁹ a second; all ranks of a node measured at the same time.

    Attributes
    ----------
    threads : int
        Number of threads of this rank.
    fma_one, gemm_one : float
        Peak and products of one core while the others slept.  Only the first rank of a node has
        them; the others have NaN.
    fma_all, gemm_all, triad_all : float
        Peak, products and bytes of STREAM's triad on all threads of the rank.
    array_bytes : float
        Size of each of the triad's three arrays, over all threads of the rank.
    cache_bytes : float
        Size of all last-level caches of the node; 0 if it is unknown.
    spread : dict
        The share by which each rate of the node was lower in its worst window than in its best.
    trouble : str
        Why the measurement failed, "" if it did not.
    """

    threads: int
    fma_one: float = math.nan
    gemm_one: float = math.nan
    fma_all: float = math.nan
    gemm_all: float = math.nan
    triad_all: float = math.nan
    array_bytes: float = 0.0
    cache_bytes: float = 0.0
    spread: dict[str, float] = field(default_factory=dict)
    trouble: str = ""


def observe(ranks: mpi.Ranks, threads: int) -> list[Rates]:
    """Return what every rank measures on ``threads`` threads; collective.

    Each measurement begins at the same time on all ranks of a node, when all are ready.
    """
    caches, seen = cache_bytes(), memory.observe()
    free = seen.free if seen.process is None else min(seen.free, seen.process * ranks.node.size)
    size = np.array([array_bytes(caches, free, threads * ranks.node.size)])
    mpi.bcast(ranks.node, size)  # the same on all ranks of a node
    nbytes = int(size[0])
    words = (str(threads), str(nbytes))
    with Probe("hpcpgd.doctor.node_probe", *words, seconds=PROBE_SECONDS) as probe:
        probe.ask()  # waits until the loops are compiled
        # The outer loop: who disturbs one window does not disturb all windows of a rate.
        windows = [[_measure(ranks, probe, name) for name in NAMES] for _ in range(WINDOWS)]
    mpi.patient_barrier(ranks.comm)
    row: dict[str, object] = {
        "threads": threads, "array_bytes": nbytes * threads, "cache_bytes": caches,
        **_best_of(ranks, np.array(windows)), "trouble": probe.trouble,
    }  # fmt: skip
    return [Rates(**json.loads(row)) for row in mpi.allgather_texts(ranks.comm, json.dumps(row))]


def _measure(ranks: mpi.Ranks, probe: Probe, name: str) -> float:
    """Return a rate of this rank in one window, NaN if it has none; collective."""
    asked = ranks.node.rank == 0 or name.endswith("_all")
    if asked:
        probe.ask(name)
    mpi.patient_barrier(ranks.comm)
    begin = np.array([time.monotonic() + LEAD_SECONDS])
    mpi.bcast(ranks.node, begin)
    return float((asked and probe.ask(str(float(begin[0])))) or "nan")


def _best_of(ranks: mpi.Ranks, windows: Array) -> dict[str, object]:
    """Return this rank's rates in the window that was the node's best, and the spread of the node.

    All ranks of the node take the same window, so that their rates can be added.
    """
    node = np.nan_to_num(windows)
    mpi.allreduce_sum(ranks.node, node)
    best = windows[node.argmax(axis=0), np.arange(len(NAMES))]
    spread = np.ptp(node, axis=0) / np.maximum(node.max(axis=0), np.finfo(float).tiny)
    named = dict(zip(NAMES, best.tolist(), strict=True))
    return {**named, "spread": dict(zip(NAMES, spread.tolist(), strict=True))}


def array_bytes(caches: int, free: int, threads: int) -> int:
    """Return the size of each of the triad's arrays in a thread; the node has ``threads``."""
    wanted = math.ceil(max(CACHES * caches / threads, LEAST_BYTES) / PIECE_BYTES)
    most = int(MEMORY_SHARE * free / 3 / threads / PIECE_BYTES)
    return PIECE_BYTES * max(min(wanted, most), 1)


def per_node(rates: Sequence[Rates], places: Sequence[Place]) -> dict[str, dict[str, float]]:
    """Return the values of each node by its name; rates of all cores are summed over its ranks."""
    nodes: dict[str, dict[str, float]] = {}
    for one, place in zip(rates, places, strict=True):
        node = nodes.setdefault(place.host, dict.fromkeys(ALL, 0.0))
        for name in ALL:
            if name not in OF_FIRST or place.index == 0:
                node[name] += getattr(one, name)
    return nodes


def middle_of(nodes: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the median over the nodes of each value."""
    return {name: median(node[name] for node in nodes.values()) for name in ALL}


def judge(rates: Sequence[Rates], places: Sequence[Place], note: str = "") -> list[Finding]:
    """Compare products with the peak, all cores with one, ranks and nodes with their median.

    Where a ``note`` says that the rates are not judged, they are only reported.
    """
    failed = [rank for rank, one in enumerate(rates) if one.trouble]
    if failed:
        text = f"{in_words(failed, places)}: {rates[failed[0]].trouble}"
        return [warning(SUBJECT, text, "check that Python starts there")]
    nodes = per_node(rates, places)
    middle = middle_of(nodes)
    findings = [_of_products(middle, note), ok("bandwidth", f"{_of_triad(middle)}{note}")]
    return findings if note else [*findings, *_spread(rates, nodes, places)]


def _of_products(middle: dict[str, float], note: str) -> Finding:
    one, every = (middle[f"gemm_{name}"] / middle[f"fma_{name}"] for name in ("one", "all"))
    clock = middle["fma_all"] / (middle["fma_one"] * middle["threads"])
    texts = [f"one core {middle['gemm_one']:.0f} GFLOP/s in products"]
    texts.append(f"{middle['threads']:.0f} threads {middle['gemm_all']:.0f} GFLOP/s")
    if note:  # others may have slowed the products, or the peak
        return ok(SUBJECT, f"{'; '.join(texts)}{note}")
    text = (
        f"{texts[0]}, {one:.2f} of its peak of {middle['fma_one']:.0f}; "
        f"{texts[1]}, {every:.2f} of their peak of {middle['fma_all']:.0f}"
    )
    if one < OF_PEAK:
        cure = "see the line BLAS, end what else runs here, or name another library in HPCPGD_BLAS"
        return warning(SUBJECT, text, cure)
    if clock < OF_ONE_CORE:
        text = f"{text}; each of all cores reaches {clock:.2f} of the peak of one core alone"
        cure = "end what else runs here; give each thread a core of its own; check the cooling"
        return warning(SUBJECT, text, cure)
    if every < OF_PEAK:
        text = f"{text}; on all cores the products are slow, and their peak is not"
        cure = "see the lines bandwidth and NUMA; name another library in HPCPGD_BLAS"
        return warning(SUBJECT, text, cure)
    return ok(SUBJECT, text)


def _of_triad(middle: Mapping[str, float]) -> str:
    text = f"{middle['triad_all']:.0f} GB/s in STREAM's triad, {middle['threads']:.0f} threads"
    size, caches = middle["array_bytes"], middle["cache_bytes"]
    if not caches:
        return f"{text}, arrays of {size / 2**20:.0f} MiB, caches of unknown size"
    times = size / caches
    few = ", limited to a tenth of the free memory" * (times < CACHES)
    return f"{text}, arrays of {size / 2**20:.0f} MiB, {times:.1f} times the caches{few}"


def _spread(
    rates: Sequence[Rates], nodes: dict[str, dict[str, float]], places: Sequence[Place]
) -> list[Finding]:
    """Report the nodes, or else the ranks, whose rate per thread is below the median."""
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
    cure = "check what else runs there, the binding and the cooling, or leave the node out"
    return warning(SUBJECT, f"{what}: down to {share:.2f} of the median", cure)
