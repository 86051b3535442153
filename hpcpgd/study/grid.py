"""The points of a study: every combination of its grid, each with a name of its own."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcpgd.config import NETWORKS, RunConfig, flag_name, resolve
from hpcpgd.errors import ConfigError
from hpcpgd.study.launchers import Launcher
from hpcpgd.study.studyfile import PER_RANK, StudyFile


@dataclass(frozen=True)
class Point:
    """One combination: ranks, and the configuration of their run.

    Attributes
    ----------
    ranks : int
    config : RunConfig
    given : tuple of (str, object)
        The keys that the study gave, others having their defaults.
    """

    ranks: int
    config: RunConfig
    given: tuple[tuple[str, Any], ...]

    suffix = ".h5"

    @property
    def key(self) -> str:
        """A file name: what a person wants to see, and a hash of everything."""
        c = self.config
        name = f"{c.backend}-{c.reduction}-b{c.batch_size}-r{self.ranks}-t{c.threads}"
        return f"{name}-{digest([self.ranks, self.given])}"

    def flags(self) -> list[str]:
        """Return the flags of ``hpcpgd train``."""
        found = []
        for key, value in self.given:
            text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
            found += [flag_name(key), text]
        return found

    def command(self, launcher: Launcher, output: Path) -> list[str]:
        """Return what runs this point and leaves its run file at ``output``."""
        threads = 1 if self.config.threads == "auto" else int(self.config.threads)
        command = [*launcher.command(self.ranks, threads), sys.executable, "-m", "hpcpgd.train"]
        return [*command, *self.flags(), "--output", str(output), "--overwrite", "--quiet"]


def digest(parts: Any) -> str:
    """Return eight letters that tell different values apart."""
    text = json.dumps(parts, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def points(study: StudyFile) -> list[Point]:
    """Return all points in the order of the grid, the last key fastest.

    Raises
    ------
    ConfigError
        For a combination that cannot work, naming it.
    """
    return list(_points(study))


def _points(study: StudyFile) -> Iterator[Point]:
    for values in itertools.product(*study.grid.values()):
        given = {**study.train, **dict(zip(study.grid, values, strict=True))}
        ranks = int(given.pop("ranks", 1))
        for per_rank, whole in zip(PER_RANK, ("train_rows", "batch_size"), strict=True):
            if per_rank in given:
                given[whole] = ranks * given.pop(per_rank)
        names = ", ".join(f"{k} {v}" for k, v in zip(study.grid, values, strict=True))
        try:
            config = _config(given)
        except ConfigError as error:
            raise ConfigError(f"study {study.name}, point {names}: {error}") from None
        yield Point(ranks, config, tuple(sorted(given.items())))


def _config(given: dict[str, Any]) -> RunConfig:
    values = dict(given)
    if "network" in values:
        values["hidden"] = NETWORKS[values.pop("network")]
    return resolve(values, {})


def network_name(hidden: tuple[int, ...]) -> str:
    """Return the paper's name of the network, or its hidden widths."""
    names = {widths: name for name, widths in NETWORKS.items()}
    return names.get(hidden, "-".join(map(str, hidden)))
