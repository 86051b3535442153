"""What the repeats of each point say: medians, intervals, speedups, efficiencies."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcpgd.kernels.network import Array
from hpcpgd.study.rows import NAN, PHASE_COLUMNS, Row

RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST = 3  # repeats from which an interval says anything
SUPERLINEAR = 1.02  # efficiency beyond which a point is flagged
SEED = 20_160_101

# What makes two runs the same point.
POINT = (
    "machine", "paper_row", "backend", "reduction", "network", "dataset", "dtype", "precision",
    "rows", "batch_size", "ranks", "threads", "nodes", "group_size",
)  # fmt: skip
RESOURCES = ("ranks", "threads", "nodes", "group_size")


@dataclass(frozen=True)
class Summary:
    """One point.

    Attributes
    ----------
    repeats : int
        Runs that ended well, of ``wanted``.
    median, ci_low, ci_high : float
        Time per epoch in seconds, and the 95 % bootstrap interval of the median; NaN with
        fewer than 3 repeats.
    base : str
        The point that speedup counts from, "" if there is none on this machine.
    speedup, efficiency : float
        Against the base; efficiency is speedup over the ratio of ranks times threads.  For
        kind weak, efficiency is the base's time over this point's, speedup follows.
    load_balance, communication, computation : float
        Factors of the efficiency: mean over largest useful time of the ranks; largest
        useful time over the time of the epoch; the base's useful time, all ranks added
        up, over this point's.  Their product over the base's is the efficiency.
    superlinear : bool
        Efficiency beyond 1.02: caches, or a slow base.
    oversubscribed : bool
        More threads than cores: no scaling can be read off.
    steps : int
        Fewest steps that a run's times stand for.
    scaled : bool
        Those of fewer steps than an epoch has, scaled to one.
    """

    paper_row: str
    machine: str
    backend: str
    reduction: str
    network: str
    dataset: str
    dtype: str
    precision: str
    rows: int
    batch_size: int
    ranks: int
    threads: int
    nodes: int
    group_size: int
    wanted: int
    repeats: int
    median: float
    ci_low: float
    ci_high: float
    gflops: float
    data_s: float
    compute_s: float
    reduce_s: float
    wait_s: float
    update_s: float
    base: str
    speedup: float
    efficiency: float
    load_balance: float
    communication: float
    computation: float
    superlinear: bool
    oversubscribed: bool
    steps: int
    scaled: bool

    @property
    def workers(self) -> int:
        """Ranks times threads."""
        return self.ranks * self.threads

    @property
    def label(self) -> str:
        """Name the point among others of its series."""
        return f"{self.backend} {self.ranks}x{self.threads}"


def interval(values: Array) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the median."""
    if len(values) < FEWEST:
        return NAN, NAN
    bits = np.random.Philox(key=SEED).random_raw((RESAMPLES, len(values)))
    drawn = np.asarray(values)[(bits % np.uint64(len(values))).astype(np.int64)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return float(low), float(high)


def summarise(rows: list[Row], kind: str, base: dict[str, Any]) -> list[Summary]:
    """Return one summary a point, in the order of the rows.

    Parameters
    ----------
    rows : list of Row
    kind : str
        Of the study.
    base : dict
        Columns and values of the base; empty for strong and weak studies: the fewest
        workers of each series.
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(getattr(row, name) for name in POINT)].append(row)
    return [_summary(group, groups, kind, base) for group in groups.values()]


def _good(group: list[Row]) -> list[Row]:
    return [row for row in group if row.status == "complete"]


def _middle(group: list[Row], name: str) -> float:
    good = _good(group)
    return float(np.median([getattr(row, name) for row in good])) if good else NAN


def _summary(
    group: list[Row], groups: dict[tuple[Any, ...], list[Row]], kind: str, base: dict[str, Any]
) -> Summary:
    first, good = group[0], _good(group)
    origin = _base_of(first, groups, kind, base)
    speedup, efficiency = _scaling(group, origin, kind)
    low, high = interval(np.array([row.tpe_seconds for row in good]))
    balance, communication, computation = _factors(group, origin)
    phases: dict[str, Any] = {name: _middle(group, name) for name in PHASE_COLUMNS.values()}
    return Summary(
        **{name: getattr(first, name) for name in POINT},
        wanted=len(group),
        repeats=len(good),
        median=_middle(group, "tpe_seconds"),
        ci_low=low,
        ci_high=high,
        gflops=_middle(group, "gflops"),
        **phases,
        base=_named(origin[0]) if origin else "",
        speedup=speedup,
        efficiency=efficiency,
        load_balance=balance,
        communication=communication,
        computation=computation,
        superlinear=bool(efficiency > SUPERLINEAR),
        oversubscribed=any(row.oversubscribed for row in good),
        steps=min((row.steps for row in good), default=0),
        scaled=any(row.scaled for row in good),
    )


def _named(row: Row) -> str:
    return f"{row.backend} {row.reduction} {row.ranks}x{row.threads}"


def _base_of(
    row: Row, groups: dict[tuple[Any, ...], list[Row]], kind: str, base: dict[str, Any]
) -> list[Row] | None:
    """Return the runs that a point is compared with: the same but for the base's columns.

    Always of the same machine.
    """
    free = {"paper_row", *RESOURCES, *base}
    if kind == "sweep" and not base:
        return None
    if kind == "weak":
        free |= {"rows", "batch_size"}
    same = [name for name in POINT if name not in free]
    candidates = [
        group
        for group in groups.values()
        if all(getattr(group[0], name) == getattr(row, name) for name in same)
        and all(getattr(group[0], name) == value for name, value in base.items())
        and _good(group)
    ]
    return min(candidates, key=lambda group: group[0].ranks * group[0].threads, default=None)


def _scaling(group: list[Row], origin: list[Row] | None, kind: str) -> tuple[float, float]:
    if origin is None or not _good(group):
        return NAN, NAN
    ratio = _middle(origin, "tpe_seconds") / _middle(group, "tpe_seconds")
    more = (group[0].ranks * group[0].threads) / (origin[0].ranks * origin[0].threads)
    return (ratio * more, ratio) if kind == "weak" else (ratio, ratio / more)


def _factors(group: list[Row], origin: list[Row] | None) -> tuple[float, float, float]:
    """Return load balance, communication and computation efficiency."""
    mean, largest = _middle(group, "useful_mean_s"), _middle(group, "useful_max_s")
    balance, communication = mean / largest, largest / _middle(group, "tpe_seconds")
    if origin is None:
        return balance, communication, NAN
    ranks, before = group[0].ranks, origin[0].ranks
    per_row = _middle(origin, "useful_mean_s") * before / origin[0].rows
    return balance, communication, per_row / (mean * ranks / group[0].rows)
