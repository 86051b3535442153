"""Rates of a node that are kept and compared later, as an acceptance test after maintenance."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpcpgd.doctor.finding import WARNING, Finding, ok, warning
from hpcpgd.environment.provenance import blas_library
from hpcpgd.errors import ConfigError, DataError, shown
from hpcpgd.results.atomic import check_writable, write_atomically
from hpcpgd.version import __version__

SUBJECT = "reference"
NAMES = ("fma_one", "gemm_one", "fma_all", "gemm_all", "triad_all")  # of the rates
SCHEMA = "hpcpgd.reference/3"  # 2: of one window each, which may have been a bad one
CURE = "see what has changed on this node"
IDLE = "end what else runs on these nodes and start it again"
ANEW = "the kept rates are too low to find a slow node: remove the file and keep them anew"
BEYOND = 1  # the exit code where a rate is beyond the tolerance, or is not kept or not measured
Rates = Mapping[str, float]  # by name
Values = Mapping[str, Rates]  # by node

# The finding if there are no rates to compare.
NOT_MEASURED = Finding(WARNING, SUBJECT, "nothing to compare or keep", "see the line speed", BEYOND)


@dataclass(frozen=True)
class Kept:
    """Rates that were kept.

    Attributes
    ----------
    job : str
        Processor and numbers of ranks and threads: rates of others cannot be compared.
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
            "--reference makes: give another file, or a new name to keep new rates under"
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


def ensure_same_job(
    path: Path, kept: Kept | None, models: Sequence[str], hosts: Sequence[str], threads: int
) -> str:
    """Return processors, numbers of ranks and of threads as a phrase.

    Each rank has one of ``models`` and one of ``hosts``.

    Raises
    ------
    ConfigError
        If they are not those of ``kept``.
    """
    counts = " and ".join(map(str, sorted(set(Counter(hosts).values()))))
    processors = " and ".join(sorted(set(models)))
    job = f"processor: {processors}, ranks a node: {counts}, threads a rank: {threads}"
    if kept is not None and kept.job != job:
        raise ConfigError(
            f"--reference {path}: this job has {job}; the rates were kept with {kept.job}: "
            "start the same numbers on the same processor, or give another file"
        )
    return job


def keep(path: Path, kept: Kept, spread: Rates, tolerance: float, *, busy: bool) -> Finding:
    """Write the rates, unless the nodes were ``busy`` or the ``spread`` is beyond the tolerance.

    Raises
    ------
    OutputError
    """
    share, name = max((share, name) for name, share in spread.items())
    if busy or share > tolerance:
        why = f"within seconds {name} fell by {100 * share:.0f} %, more than the tolerance"
        why = "others used the cores while the rates were measured" if busy else why
        return Finding(WARNING, SUBJECT, f"{path} is not written: {why}", IDLE, BEYOND)
    from hpcpgd.machine.resources import find_blas  # loads MPI, so not before

    date = datetime.now(UTC).isoformat(timespec="seconds")
    source = {"date": date, "hpcpgd": __version__, "blas": blas_library(find_blas("gemm"))}
    document = {"schema": SCHEMA, **source, **asdict(kept), "spread": dict(spread)}
    write_atomically(path, json.dumps(document, indent=1).encode() + b"\n")
    return ok(SUBJECT, f"{path} keeps the rates of this node")


def compare(nodes: Values, kept: Kept, tolerance: float, *, busy: bool) -> list[Finding]:
    """Name each rate that is more than ``tolerance``, a share, below or above the kept one.

    If the nodes were ``busy``, a low rate has its cause in the load.  After a high one the kept
    rates are in doubt, not the node.
    """
    note, cure = (", while others used the cores", IDLE) if busy else ("", CURE)
    findings = []
    for host, node in nodes.items():
        for name, value in kept.values.items():
            share = node[name] / value
            seen = f"{name} on {host} is {node[name]:.4g}, {share:.2f} of the {value:.4g} kept"
            if not share >= 1 - tolerance:  # NaN, too
                findings.append(Finding(WARNING, SUBJECT, seen + note, cure, BEYOND))
            elif share > 1 + tolerance:
                findings.append(warning(SUBJECT, seen, ANEW))
    return findings or [ok(SUBJECT, f"all rates are within {100 * tolerance:g} % of those kept")]
