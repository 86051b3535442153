"""The result files of checks and benchmarks: one JSON file for each machine and day."""

from __future__ import annotations

import json
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numba
import numpy as np

from hpcpgd import __version__
from hpcpgd.environment import provenance
from hpcpgd.parallel import mpi
from scripts.bench import cloops

RESULTS = Path(__file__).with_name("results")


def slug(text: str) -> str:
    """Return ``text`` in lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def default_path(check: str, machine: str = "") -> Path:
    """Return the path of results of ``check`` today on ``machine``, by default this CPU's name."""
    folder = f"{slug(machine or provenance.cpu_model())}-{datetime.now(UTC):%Y-%m-%d}"
    return RESULTS / folder / f"{check}.json"


def about(check: str, **machine: Any) -> dict[str, Any]:
    """Return the first entries of every result file, which name no host and no path.

    ``machine`` adds facts about this machine to the CPU's name.
    """
    return {
        "check": check,
        "machine": {"cpu_model": provenance.cpu_model(), **machine},
        "versions": versions(),
        **moment(),
    }


def moment() -> dict[str, str]:
    """Return the revision of the source, and date and time."""
    return {
        "git_revision": provenance.git_revision(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Return the versions of the software that results depend on."""
    return {
        "hpcpgd": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "mpi": mpi.implementation(),
        "cc": cloops.compiler_version(),
    }


def write(path: Path, findings: dict[str, Any]) -> None:
    """Write a result file, in place of an existing one; lists of numbers take one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(findings, indent=1)
    text = re.sub(r"\[[^][{}\"]*\]", lambda numbers: " ".join(numbers[0].split()), text)
    path.write_text(text + "\n", encoding="utf-8")
