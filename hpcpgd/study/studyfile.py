"""The study file: TOML with the tables ``[study]``, ``[grid]``, ``[train]`` and ``[base]``.

``[grid]`` holds a list for each key that varies, ``[train]`` what all runs have in common;
their keys are ``ranks`` and those of ``hpcpgd train --config``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcpgd.config.option_types import Choice, Duration, Integer, Kind, Text
from hpcpgd.config.read_options import checked, meant, read_tables
from hpcpgd.config.run_config import FIELDS, kind_of
from hpcpgd.errors import ConfigError, nearest, shown

KINDS = ("strong", "weak", "sweep")
# Options that the study itself sets.
OURS = (
    "output", "overwrite", "quiet", "checkpoint_dir", "checkpoint_every", "resume", "time_limit",
)  # fmt: skip
PER_RANK = ("rows_per_rank", "batch_per_rank")
RANKS = Integer(1, maximum=2**20)
MOST_POINTS = 10_000
LONGEST = 1000 * 3600.0


@dataclass(frozen=True)
class StudyFile:
    """The checked content of a study file.

    Attributes
    ----------
    kind : str
        ``strong``: the same problem on more ranks or threads; ``weak``: rows and batch per
        rank constant; ``sweep``: anything, and no claim of scaling.
    repeats : int
        Runs of each point, each in processes of its own.
    warmup_epochs : int
        Epochs at the beginning of each run that are not counted.
    time_limit : float
        Seconds after which a run is ended.
    grid : dict
        Lists of values.
    train : dict
        Values common to all runs.
    base : dict
        The point that speedups are relative to: values of keys of the grid.
    """

    name: str
    kind: str = "sweep"
    repeats: int = 5
    warmup_epochs: int = 1
    time_limit: float = 3600.0
    grid: dict[str, list[Any]] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)


def seconds(value: Any) -> float:
    """Return a duration such as ``90s``, ``10 min`` or ``1-12:00:00`` in seconds."""
    kind = Duration()
    text = re.sub(r"(?<=[0-9])\s+(?=[a-z])", "", value) if isinstance(value, str) else value
    limit = kind.parse(kind.check(text)).seconds
    if limit > LONGEST:
        raise ValueError
    return limit


SETTINGS: dict[str, tuple[str, Kind | None]] = {
    "name": ("a text of letters, digits, '-', '_' and '.'", Text("")),
    "kind": ("one of " + ", ".join(KINDS), Choice(KINDS)),
    "repeats": ("a whole number, 1 or more", Integer(1, maximum=1000)),
    "warmup_epochs": ("a whole number, 0 or more", Integer(0, maximum=1000)),
    "time_limit": (
        "a duration such as '90s', '10min', '2h' or SLURM's '1-12:00:00', at most '1000h'",
        None,
    ),
}
TABLES = ("study", "grid", "train", "base")
POINT_KEYS = (*(key for key in FIELDS if key not in OURS), "network", "ranks", *PER_RANK)


def read(path: Path) -> StudyFile:
    """Read and check a study file.

    Raises
    ------
    ConfigError
        With the key, its value and the values that are valid.
    """
    document = read_tables(path, "study file", TABLES, _home)
    settings = _settings(document.get("study", {}), path)
    settings.setdefault("name", path.stem)
    grid = {k: _column(k, v, f"{path}: [grid] ") for k, v in document.get("grid", {}).items()}
    train = {k: _value(k, v, f"{path}: [train] ") for k, v in document.get("train", {}).items()}
    base = {k: _value(k, v, f"{path}: [base] ") for k, v in document.get("base", {}).items()}
    # With threads auto one rank would use all cores: the first point would not be serial.
    if settings.get("kind") in ("strong", "weak") and "threads" not in {*grid, *train}:
        train["threads"] = 1
    study = StudyFile(**settings, grid=grid, train=train, base=base)
    _check_together(study, path)
    return study


def _home(key: str) -> str:
    """Return in which table a key belongs, "" if there is no such key."""
    if key in SETTINGS:
        return "belongs in [study]"
    if key not in POINT_KEYS:
        return ""
    return "belongs in [grid]" if key == "ranks" else "belongs in [train], a list of it in [grid]"


def _settings(table: dict[str, Any], path: Path) -> dict[str, Any]:
    settings = {}
    for key, value in table.items():
        where = f"{path}: [study] {key}"
        if key not in SETTINGS and _home(key):
            raise ConfigError(f"{path}: [study]: '{key}' {_home(key)}")
        if key not in SETTINGS:
            hint = nearest(key, SETTINGS) or f"; the keys are {', '.join(SETTINGS)}"
            raise ConfigError(f"{path}: [study]: unknown key '{key}'{hint}")
        expected, kind = SETTINGS[key]
        try:
            settings[key] = seconds(value) if kind is None else kind.check(value)
            if key == "name" and not re.fullmatch(r"[\w.-]{1,80}", value):
                raise ValueError
        except ValueError as problem:
            raise ConfigError(
                f"{where}: expected {expected}, got {shown(value)}{problem}"
            ) from None
    return settings


def _kind(key: str, where: str) -> Kind:
    if key in SETTINGS:
        raise ConfigError(f"{where.rstrip()}: '{key}' {_home(key)}")
    if key not in POINT_KEYS:
        more = "; the study itself sets it" if key in OURS else meant(key, POINT_KEYS)
        raise ConfigError(f"{where.rstrip()}: unknown key '{key}'{more}")
    return RANKS if key == "ranks" or key in PER_RANK else kind_of(key)


def _value(key: str, value: Any, where: str) -> Any:
    kind = _kind(key, where)
    try:
        return checked(kind, value, where + key)
    except ConfigError as error:
        several = where.endswith("[train] ") and isinstance(value, list) and key != "hidden"
        more = "; a list of values belongs in [grid]" if several else ""
        raise ConfigError(f"{error}{more}") from None


def _column(key: str, values: Any, where: str) -> list[Any]:
    _kind(key, where)
    if not isinstance(values, list) or not values:
        more = "" if isinstance(values, list) else "; one value belongs in [train]"
        raise ConfigError(f"{where}{key}: expected a list of values, got {shown(values)}{more}")
    if len(values) > MOST_POINTS:
        raise ConfigError(f"{where}{key}: {len(values)} values, expected {MOST_POINTS} at most")
    column = [_value(key, value, where) for value in values]
    if any(value in column[:i] for i, value in enumerate(column)):
        raise ConfigError(f"{where}{key}: the same value stands twice in {values!r}")
    return column


def _check_together(study: StudyFile, path: Path) -> None:
    points = math.prod(len(values) for values in study.grid.values())
    if points > MOST_POINTS:
        raise ConfigError(f"{path}: [grid] makes {points} points, expected {MOST_POINTS} at most")
    both = set(study.grid) & set(study.train)
    if both:
        raise ConfigError(f"{path}: '{min(both)}' stands in [grid] and in [train]: keep one")
    keys = {*study.grid, *study.train}
    for pair in (("network", "hidden"), ("train_rows", PER_RANK[0]), ("batch_size", PER_RANK[1])):
        if keys.issuperset(pair):
            raise ConfigError(f"{path}: {pair[0]} and {pair[1]} contradict each other: keep one")
    if study.kind == "weak" and not keys.issuperset(PER_RANK):
        raise ConfigError(
            f"{path}: kind weak means that rows and batch per rank are constant: give "
            f"{' and '.join(PER_RANK)} (in [train] or [grid]), or call it a sweep"
        )
    if study.kind == "weak" and "threads" in study.grid:
        raise ConfigError(
            f"{path}: kind weak means constant work per rank: threads must be the same in all "
            "runs, in [train]; or call it a sweep"
        )
    if study.kind != "weak" and keys & set(PER_RANK):
        raise ConfigError(f"{path}: {min(keys & set(PER_RANK))} goes with kind weak only")
    if study.kind in ("strong", "weak") and not {"ranks", "threads"} & set(study.grid):
        raise ConfigError(f"{path}: kind {study.kind} needs several ranks or threads in [grid]")
    for key, value in study.base.items():
        if key not in study.grid or value not in study.grid[key]:
            raise ConfigError(
                f"{path}: [base] {key} = {value!r} is not in [grid]: "
                f"expected one of {study.grid.get(key, 'its keys: ' + ', '.join(study.grid))}"
            )
