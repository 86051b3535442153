"""The site file: the settings of one cluster, as TOML."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hpcpgd.config.option_types import Choice, Flag, Integer, Kind, Text
from hpcpgd.config.read_options import checked, read_tables
from hpcpgd.errors import ConfigError, nearest, shown

TABLES = ("site", "environment")
# Words for #SBATCH lines, in which nothing can be quoted.
PLAIN = re.compile(r"[\w.@:+/,=%^&|()\[\]*-]+", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Plain(Kind):
    """A word without blanks, quotes and dollar signs."""

    metavar: str = "WORD"

    def described(self) -> str:
        """Name what can stand in an #SBATCH line."""
        return "a word of letters, digits and _.@:+/,=%^&|()[]*-"

    def valid(self, value: Any) -> str:
        """Return the word."""
        if not isinstance(value, str) or not PLAIN.fullmatch(value):
            raise ValueError
        return value


@dataclass(frozen=True)
class Lines(Kind):
    """A list of texts, each checked by ``one``."""

    one: Kind
    metavar: str = "LIST"

    def described(self) -> str:
        """Name a list of what its parts may be."""
        return f"a list, each {self.one.expected()}"

    def valid(self, value: Any) -> tuple[str, ...]:
        """Return the texts."""
        if not isinstance(value, list):
            raise ValueError
        return tuple(self.one.check(part) for part in value)


def _key(default: Any, kind: Kind) -> Any:
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True)
class Site:
    """The settings of one cluster.

    Attributes
    ----------
    partition, account, qos, constraint, memory_per_cpu : str
        Options of sbatch; "" leaves them out.
    options : tuple of str
        Further options of sbatch, as they are.
    launcher : str
        ``srun`` or ``mpirun``.
    mpi : str
        Of ``srun --mpi``; "" is the site's default.
    cpu_bind : str
        Of ``srun --cpu-bind``.
    cores_per_node : int
        The number of nodes follows from it; 0 leaves that to SLURM.
    gpu_option : str
        The option that requests the GPUs of a run that needs them.
    at_once : int
        Runs of one array at the same time; with 1 the arrays too come one after the other.
    modules : tuple of str
        Of ``module load``.
    setup : tuple of str
        Lines of shell, as they are.
    python : str
        The interpreter on the nodes.
    environment : tuple of (str, str)
        Variables of the jobs and of the commands of SLURM.
    """

    partition: str = _key("", Plain())
    account: str = _key("", Plain())
    qos: str = _key("", Plain())
    constraint: str = _key("", Plain())
    memory_per_cpu: str = _key("", Plain())
    options: tuple[str, ...] = _key((), Lines(Plain()))
    launcher: str = _key("srun", Choice(("srun", "mpirun")))
    mpi: str = _key("", Plain())
    cpu_bind: str = _key("cores", Plain())
    exclusive: bool = _key(False, Flag())
    cores_per_node: int = _key(0, Integer(1, maximum=2**20))
    gpu_option: str = _key("--gpus-per-task=1", Plain())
    at_once: int = _key(1, Integer(1, maximum=2**20))
    modules: tuple[str, ...] = _key((), Lines(Text("TEXT")))
    setup: tuple[str, ...] = _key((), Lines(Text("TEXT")))
    python: str = _key("python", Text("TEXT"))
    environment: tuple[tuple[str, str], ...] = ()


KEYS = {f.name: f for f in fields(Site) if "kind" in f.metadata}


def read(path: Path) -> Site:
    """Read and check a site file.

    Raises
    ------
    ConfigError
        With the key, its value and the values that are valid.
    """
    document = read_tables(path, "--site", TABLES)
    values = {k: _value(path, k, v) for k, v in document.get("site", {}).items()}
    variables = [_variable(path, k, v) for k, v in document.get("environment", {}).items()]
    return Site(**values, environment=tuple(variables))


def _value(path: Path, key: str, value: Any) -> Any:
    if key not in KEYS:
        hint = nearest(key, KEYS) or f"; the keys are {', '.join(KEYS)}"
        raise ConfigError(f"{path}: [site]: unknown key '{key}'{hint}")
    return checked(KEYS[key].metadata["kind"], value, f"{path}: [site] {key}")


def _variable(path: Path, name: str, value: Any) -> tuple[str, str]:
    if not VARIABLE.fullmatch(name):
        raise ConfigError(f"{path}: [environment]: {name!r} is no name of a variable")
    if not isinstance(value, str) or "\0" in value:
        raise ConfigError(f"{path}: [environment] {name}: expected a text, got {shown(value)}")
    return name, value
