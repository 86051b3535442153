"""Rates of a node that are kept and compared later, as an acceptance test after maintenance."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpcpgd.doctor.finding import WARNING, Finding, ok
from hpcpgd.errors import ConfigError, DataError, shown
from hpcpgd.results.atomic import check_writable, write_atomically

SUBJECT = "reference"
NAMES = ("fma_one", "gemm_one", "fma_all", "gemm_all", "triad_all")  # of the rates
SCHEMA = "hpcpgd.reference/2"  # 1: medians of the threads were added, and no ranks were named
CURE = "see what has changed on this node"
IDLE = "end what else runs on these nodes and start it again"
BEYOND = 1  # the exit code where a rate is beyond the tolerance, or is not kept or not measured
Values = Mapping[str, Mapping[str, float]]  # by node, then by the name of a rate


# The finding if there are no rates to compare.
NOT_MEASURED = Finding(
    WARNING, SUBJECT, "there is nothing to compare or to keep", "see the line speed", BEYOND
)


@dataclass(frozen=True)
class Kept:
    """Rates that were kept.

    Attributes
    ----------
    job : str
        Numbers of ranks and threads: rates of other numbers cannot be compared.
    values : dict
        Medians over the nodes of the job, by ``NAMES``.
    """

    job: str
    values: dict[str, float]


def read(path: Path) -> Kept | None:
    """Return the rates of a file, None if there is no such file.

    Raises
    ------
    DataError
        If it cannot be read, is another file, or a value is missing or cannot be a rate.
    OutputError
        If there is no such file and it cannot be made.
    """
    try:
        document = json.loads(path.read_bytes())
        damage = _damage(document)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        check_writable(path, overwrite=True, option="--reference")
        return None
    except OSError as error:
        damage = f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        damage = "is not JSON"
    if damage:
        raise DataError(
            f"--reference {path} {damage}: expected a file of schema {SCHEMA}, which hpcpgd doctor "
            "--reference makes: remove the file to keep new rates, or give another file"
        )
    return Kept(document["job"], {name: float(document["values"][name]) for name in NAMES})


def _damage(document: Any) -> str:
    """Return why this is no document of ``keep``, "" if it is one."""
    table = document if isinstance(document, dict) else {}
    if (schema := table.get("schema")) != SCHEMA:
        return f"has schema {shown(schema)}" if schema else "has no schema"
    for name, kind, word in (("job", str, "text"), ("values", dict, "table")):
        if not isinstance(table.get(name), kind):
            return f"has no {word} {name}"
    for name in NAMES:
        value: Any = table["values"].get(name)
        if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
            return f"has no rate {name} above 0"
    return ""


def ensure_same_job(path: Path, kept: Kept | None, hosts: Sequence[str], threads: int) -> str:
    """Return the numbers of ranks, one on each of ``hosts``, and of threads as a phrase.

    Raises
    ------
    ConfigError
        If they are not those of ``kept``.
    """
    counts = " and ".join(map(str, sorted(set(Counter(hosts).values()))))
    job = f"ranks a node: {counts}, threads a rank: {threads}"
    if kept is not None and kept.job != job:
        raise ConfigError(
            f"--reference {path}: this job has {job}; the rates were kept with {kept.job}: "
            "start the same numbers, or give another file"
        )
    return job


def keep(path: Path, kept: Kept, *, busy: bool) -> Finding:
    """Write the rates, unless the nodes were ``busy`` while they were measured.

    Raises
    ------
    OutputError
    """
    if busy:
        seen = f"{path} is not written: others used the cores while the rates were measured"
        return Finding(WARNING, SUBJECT, seen, IDLE, BEYOND)
    document = {"schema": SCHEMA, **asdict(kept)}
    write_atomically(path, json.dumps(document, indent=1).encode() + b"\n")
    return ok(SUBJECT, f"{path} keeps the rates of this node")


def compare(nodes: Values, kept: Kept, tolerance: float, *, busy: bool) -> list[Finding]:
    """Name each rate that is more than ``tolerance``, a share, below the kept one.

    If the nodes were ``busy``, a low rate has its cause in the load.
    """
    note, cure = (", while others used the cores", IDLE) if busy else ("", CURE)
    findings = [
        Finding(WARNING, SUBJECT, _beyond(host, name, node[name], value) + note, cure, BEYOND)
        for host, node in nodes.items()
        for name, value in kept.values.items()
        if not node[name] >= (1 - tolerance) * value
    ]
    return findings or [ok(SUBJECT, f"all rates are within {100 * tolerance:g} % of those kept")]


def _beyond(host: str, name: str, value: float, kept: float) -> str:
    return f"{name} on {host} is {value:.4g}, {value / kept:.2f} of the {kept:.4g} kept"
