"""Values of a node that are kept, and compared later: an acceptance test after maintenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hpcpgd.doctor.finding import WARNING, Finding, ok
from hpcpgd.errors import DataError
from hpcpgd.results.atomic import write_atomically

SUBJECT = "reference"
SCHEMA = "hpcpgd.reference/1"
CURE = "see what has changed on this node"
BEYOND = 1  # the exit code where a rate is beyond the tolerance
Values = Mapping[str, Mapping[str, float]]  # by node, then by the name of a rate


def read(path: Path) -> dict[str, float]:
    """Return the values of a file, the median of the nodes that it was made on.

    Raises
    ------
    DataError
        If it is not such a file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r}")
        return {str(name): float(value) for name, value in document["values"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"--reference {path}: expected a file that hpcpgd doctor --reference has made: {error}"
        ) from None


def keep(path: Path, values: Mapping[str, float]) -> Finding:
    """Write the values.

    Raises
    ------
    OutputError
    """
    document = {"schema": SCHEMA, "values": dict(values)}
    write_atomically(path, json.dumps(document, indent=1).encode() + b"\n")
    return ok(SUBJECT, f"{path} keeps the rates of this node")


def compare(nodes: Values, kept: Mapping[str, float], tolerance: float) -> list[Finding]:
    """Name each rate that is more than ``tolerance``, a share, below the kept one."""
    findings = [
        Finding(WARNING, SUBJECT, _beyond(host, name, node[name], value), CURE, BEYOND)
        for host, node in nodes.items()
        for name, value in kept.items()
        if name in node and not node[name] >= (1 - tolerance) * value
    ]
    return findings or [ok(SUBJECT, f"all rates are within {100 * tolerance:g} % of those kept")]


def _beyond(host: str, name: str, value: float, kept: float) -> str:
    return f"{name} on {host} is {value:.4g}, {value / kept:.2f} of the {kept:.4g} kept"
