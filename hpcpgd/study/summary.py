"""Statistics over the repeats of each point: medians, intervals, speedups, efficiencies."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hpcpgd.config.run_config import RunConfig
from hpcpgd.kernels.core.network import Array
from hpcpgd.study.grid import shared
from hpcpgd.study.rows import NAN, PHASE_COLUMNS, PointColumns, Row

RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST = 3  # repeats that an interval needs
MANY = 6  # with fewer the interval is from the shortest to the longest repeat
SUPERLINEAR = 1.02  # efficiency beyond which a point is flagged
SEED = 20_160_101

# Runs with these columns the same are repeats of one point.
POINT = ("machine", "paper_row", "key")
RESOURCES = {"ranks", "threads"}
WHOLES = {"train_rows", "batch_size"}  # which grow with the ranks of a weak study


@dataclass(frozen=True)
class Summary(PointColumns):
    """One point.

    Attributes
    ----------
    asked_reduction : str
        The option of the study, such as ``auto``; ``reduction`` is what was used.
    repeats : int
        Runs that ended well, of ``wanted``.
    median, ci_low, ci_high : float
        Time per epoch in seconds; 95 % bootstrap interval of the median, of 3 to 5 repeats
        from the shortest to the longest, NaN with fewer.
    base : str
        The point that speedup is relative to, "" if there is none on this machine.
    speedup, efficiency : float
        Against the base; efficiency is speedup over the ratio of ranks times threads.  For
        kind weak, efficiency is the base's time over this point's, speedup follows.
    load_balance, communication, computation : float
        Factors of the efficiency: mean over largest useful time of the ranks; largest
        useful time over the time of the epoch; the base's useful time for a row, over all
        ranks and threads, over this point's.
    product : float
        Of the three, over that of the base: the efficiency, up to the rounding of medians.
    superlinear : bool
        Efficiency beyond 1.02 of the base's backend and precision: caches, or a slow base.
    oversubscribed : bool
        More threads than cores: the point does not show scaling.
    cold : bool
        A run left out fewer warm-up epochs than the study asks for.
    steps : int
        The fewest counted steps of a run.
    scaled : bool
        Times are of fewer steps than an epoch has, scaled to an epoch.
    logical_cores : int
        The most that a run could use; 0 if not known.
    others_used : float
        The most cores that other processes used during a run; NaN if not known.
    unchecked : int
        Runs that were too short to see what others used.
    speedup_low, speedup_high : float
        Speedup of the shortest time of the base's interval over the longest of the point's,
        and the reverse; NaN at the base, which is 1 by definition.
    validation_accuracy : float
        After the last epoch, the median over the repeats; NaN without one.
    other_kernels : bool
        Another backend or precision than the base: its ratios are not those of scaling alone.
    """

    asked_reduction: str
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
    product: float
    superlinear: bool
    oversubscribed: bool
    cold: bool
    steps: int
    scaled: bool
    logical_cores: int = 0  # older study files lack it and what follows
    others_used: float = NAN
    unchecked: int = 0
    speedup_low: float = NAN
    speedup_high: float = NAN
    validation_accuracy: float = NAN
    other_kernels: bool = False

    @property
    def workers(self) -> int:
        """Ranks times threads."""
        return self.ranks * self.threads


def interval(values: Array) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the median; 3 to 5 values span it."""
    if len(values) < FEWEST:
        return NAN, NAN
    bits = np.random.Philox(key=SEED).random_raw((RESAMPLES, len(values)))
    drawn = np.asarray(values)[(bits % np.uint64(len(values))).astype(np.int64)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.median(drawn, axis=1), [tail, 1 - tail])
    return float(low), float(high)


def summarise(rows: list[Row], kind: str, base: dict[str, Any], repeats: int = 0) -> list[Summary]:
    """Return one summary a point, in the order of the rows.

    Parameters
    ----------
    kind : str
        Of the study.
    base : dict
        Keys of the study and their values at the base; empty for strong and weak studies:
        the fewest workers of each series.
    repeats : int
        Runs that each point should have; 0: as many as it has.
    """
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[_point(row)].append(row)
    return [_summary(group, groups, kind, base, repeats) for group in groups.values()]


def _point(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in POINT)


def _good(group: list[Row]) -> list[Row]:
    return [row for row in group if row.status == "complete"]


def _middle(group: list[Row], name: str) -> float:
    good = _good(group)
    return float(np.median([getattr(row, name) for row in good])) if good else NAN


def _summary(
    group: list[Row],
    groups: dict[tuple[Any, ...], list[Row]],
    kind: str,
    base: dict[str, Any],
    repeats: int,
) -> Summary:
    good, first = _good(group), _first(group)
    origin = _base_group(first, groups, kind, base)
    median, low, high = _times(group)
    balance, communication, computation = _factors(group, origin)
    product = balance * communication * computation
    whole = product / float(np.prod(_factors(origin, origin))) if origin else NAN
    ratios = _ratios(group, origin, kind)
    kernels = {(r.backend, r.dtype, r.precision) for r in (first, _first(origin or group))}
    several = len({_first(other).precision for other in groups.values()}) > 1
    phases: dict[str, Any] = {name: _middle(group, name) for name in PHASE_COLUMNS.values()}
    return Summary(
        **{f.name: getattr(first, f.name) for f in fields(PointColumns)},
        asked_reduction=json.loads(first.given).get("reduction", RunConfig.reduction),
        wanted=max(repeats, len(group)),
        repeats=len(good),
        median=median,
        ci_low=low,
        ci_high=high,
        gflops=_middle(group, "gflops"),
        **phases,
        base=_named(_first(origin), several) if origin else "",
        **ratios,
        load_balance=balance,
        communication=communication,
        computation=computation,
        product=whole,
        superlinear=bool(ratios["efficiency"] > SUPERLINEAR and len(kernels) == 1),
        oversubscribed=any(row.oversubscribed for row in good),
        cold=any(row.cold for row in good),
        steps=min((row.steps for row in good), default=0),
        scaled=any(row.scaled for row in good),
        logical_cores=max(row.logical_cores for row in group),
        others_used=max((n for row in good if not np.isnan(n := row.others_used)), default=NAN),
        unchecked=sum(np.isnan(row.others_used) for row in good),
        validation_accuracy=_middle(group, "validation_accuracy"),
        other_kernels=len(kernels) > 1,
    )


def _named(row: Row, several: bool) -> str:
    precision = f" {row.precision}" * (several or row.precision != row.dtype)
    return f"{row.backend} {row.reduction}{precision} {row.ranks}x{row.threads}"


def base_of(row: Row, others: Iterable[Row], kind: str, base: dict[str, Any]) -> Row | None:
    """Return the base of a point among ``others``, None if there is none.

    It is of the same machine and has the same options, except for ranks, threads and the keys
    of ``base``.  A sweep without ``base`` has none.
    """
    if kind == "sweep" and not base:
        return None
    free = RESOURCES | set(base) | (WHOLES if kind == "weak" else set())
    candidates = [
        other
        for other in others
        if other.machine == row.machine
        and _alike(other, row, free)
        and all(json.loads(other.given).get(k) == shared(k, v) for k, v in base.items())
    ]
    return min(candidates, key=workers, default=None)


def _base_group(
    row: Row, groups: dict[tuple[Any, ...], list[Row]], kind: str, base: dict[str, Any]
) -> list[Row] | None:
    origin = base_of(row, map(_first, groups.values()), kind, base)
    group = groups[_point(origin)] if origin else []
    # If the runs of the base failed, there is none: another point would be another base.
    return group if _good(group) else None


def _alike(one: Row, other: Row, free: set[str]) -> bool:
    """Return whether two points have the same options, except for the keys in ``free``."""
    a, b = json.loads(one.given), json.loads(other.given)
    return all(a.get(key) == b.get(key) for key in {*a, *b} - free)


def _first(group: list[Row]) -> Row:
    """Return a run that ended well, or else any run, which has fewer values."""
    return (_good(group) or group)[0]


def workers(row: Row) -> int:
    """Return ranks times threads."""
    return row.ranks * max(row.threads, 1)  # 0: a run that failed before it chose them


def _times(group: list[Row]) -> tuple[float, float, float]:
    """Return the median time and its interval."""
    times = np.array([row.tpe_seconds for row in _good(group)])
    return _middle(group, "tpe_seconds"), *interval(times)


def _ratios(group: list[Row], origin: list[Row] | None, kind: str) -> dict[str, Any]:
    """Return efficiency, and speedup with its ends, which hold the spread of both times."""
    if origin is None or not _good(group):
        return {"speedup": NAN, "efficiency": NAN}
    more = workers(_first(group)) / workers(_first(origin))
    unit = more if kind == "weak" else 1.0
    (base, base_low, base_high), (own, low, high) = _times(origin), _times(group)
    ratios = {"speedup": unit * base / own, "efficiency": unit * base / own / more}
    if origin is group:
        return ratios
    ends = {"speedup_low": unit * base_low / high, "speedup_high": unit * base_high / low}
    return ratios | ends


def _factors(group: list[Row], origin: list[Row] | None) -> tuple[float, float, float]:
    """Return load balance, communication and computation efficiency."""
    mean, largest = _middle(group, "useful_mean_s"), _middle(group, "useful_max_s")
    balance, communication = mean / largest, largest / _middle(group, "tpe_seconds")
    if origin is None:
        return balance, communication, NAN
    return balance, communication, _per_row(origin) / _per_row(group)


def _per_row(group: list[Row]) -> float:
    """Return the useful time of one row, summed over all ranks and threads."""
    good = _good(group)
    return _middle(group, "useful_mean_s") * workers(good[0]) / good[0].rows if good else NAN
