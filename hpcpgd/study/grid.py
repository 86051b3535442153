"""The points of a study: every combination of its grid, each with a unique name."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import NETWORKS, RunConfig, flag_name
from hpcpgd.errors import ConfigError
from hpcpgd.study.launchers import Launcher
from hpcpgd.study.studyfile import PER_RANK, StudyFile

# A run is timed in one start: one that was interrupted begins again with its first step.
ALONE = ("--overwrite", "--quiet", "--resume", "never", "--checkpoint-every", "never")
# Keys of a study that its tables show in columns of their own.
COLUMNS = (
    "dataset", "hidden", "network", "backend", "reduction", "dtype", "matmul_precision",
    "train_rows", "batch_size", "threads",
)  # fmt: skip
NAMED = ("hidden", "network", "backend", "reduction", "batch_size", "ranks")  # in every label


@dataclass(frozen=True)
class Point:
    """One combination: ranks, and the configuration of their run.

    Attributes
    ----------
    given : tuple of (str, object)
        The options that the study sets; all others have their defaults.
    per_rank : tuple of (str, int)
        Of a weak study: rows and batch of each rank; ``given`` has their totals.
    varied : tuple of str
        The keys of the study's grid.
    """

    ranks: int
    config: RunConfig
    given: tuple[tuple[str, Any], ...]
    per_rank: tuple[tuple[str, int], ...] = ()
    varied: tuple[str, ...] = ()

    suffix = ".h5"

    @property
    def key(self) -> str:
        """A file name: the main options, and a hash of all options.

        The functions enter by their values: runs that had other defaults are not these runs.
        """
        c = self.config
        functions = [c.activation, c.output_activation, c.loss]
        name = f"{c.backend}-{c.reduction}-b{c.batch_size}-r{self.ranks}-t{c.threads}"
        return f"{name}-{digest([self.ranks, self.given, functions])}"

    @property
    def label(self) -> str:
        """The point in words, for messages while it runs."""
        c, s = self.config, "s" * (self.ranks != 1)
        asked = c.reduction if c.reduction != "auto" else ""
        words = (c.backend, asked, network_name(c.hidden), "batch", str(c.batch_size))
        values = [(k, v) for k, v in (*self.given, *self.per_rank) if k in self.varied]
        others = [f"{k} {plain(v)}" for k, v in values if k not in NAMED]
        return ", ".join([" ".join(filter(None, words)), f"{self.ranks} rank{s}", *others])

    @property
    def setting(self) -> str:
        """The options of the study that have no column of their own in its tables."""
        others = [(k, v) for k, v in self.given if k not in COLUMNS]
        return ", ".join(f"{k} {plain(v)}" for k, v in (*others, *self.per_rank))

    @property
    def threads(self) -> int:
        """Threads of a rank; ``auto`` counts as one."""
        return 1 if self.config.threads == "auto" else int(self.config.threads)

    def as_json(self) -> str:
        """Return all options that the study sets."""
        given = {**dict(self.given), **dict(self.per_rank), "ranks": self.ranks}
        return json.dumps({key: shared(key, value) for key, value in given.items()})

    def flags(self) -> list[str]:
        """Return the flags of ``hpcpgd train``."""
        flags = []
        for key, value in self.given:
            flags += [flag_name(key), plain(value)]
        return flags

    def command(self, launcher: Launcher, output: Path) -> list[str]:
        """Return the command that runs this point and writes its run file to ``output``."""
        start = launcher.command(self.ranks, self.threads)
        command = [*start, sys.executable, "-m", "hpcpgd.train"]
        return [*command, *self.flags(), *ALONE, "--output", str(output)]


def shared(key: str, value: Any) -> Any:
    """Return a value for files that are passed on: without the folders of this machine."""
    if isinstance(value, tuple):
        return list(value)
    if key in ("dataset", "initial_weights") and "/" in value:
        return f"{Path(value).name} ({digest(value)})"
    return value


def plain(value: Any) -> str:
    """Return a value as its flag has it."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def digest(parts: Any) -> str:
    """Return a hash of eight hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def points(study: StudyFile) -> list[Point]:
    """Return all points in the order of the grid, the last key fastest.

    Raises
    ------
    ConfigError
        For a combination that cannot work; the message names it.
    """
    return list(_points(study))


def _points(study: StudyFile) -> Iterator[Point]:
    for values in itertools.product(*study.grid.values()):
        given = {**study.train, **dict(zip(study.grid, values, strict=True))}
        ranks = int(given.pop("ranks", 1))
        per_rank = {key: given.pop(key) for key in PER_RANK if key in given}
        for key, whole in zip(PER_RANK, ("train_rows", "batch_size"), strict=True):
            if key in per_rank:
                given[whole] = ranks * per_rank[key]
        names = ", ".join(f"{k} {v}" for k, v in zip(study.grid, values, strict=True))
        try:
            config = _config(given)
        except ConfigError as error:
            raise ConfigError(f"study {study.name}, point {names}: {error}") from None
        yield Point(
            ranks, config, tuple(sorted(given.items())), tuple(per_rank.items()), tuple(study.grid)
        )


def _config(given: dict[str, Any]) -> RunConfig:
    values = dict(given)
    if "network" in values:
        values["hidden"] = NETWORKS[values.pop("network")]
    return resolve(values, {})


def network_name(hidden: tuple[int, ...]) -> str:
    """Return the paper's name of the network, or its hidden widths."""
    names = {widths: name for name, widths in NETWORKS.items()}
    return names.get(hidden, "-".join(map(str, hidden)))
