"""What all ranks must have in common before the first step."""

from __future__ import annotations

import platform
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import binding

from hpcpgd.config.run_config import RunConfig
from hpcpgd.environment import provenance
from hpcpgd.errors import ConfigError
from hpcpgd.parallel import mpi
from hpcpgd.version import __version__


def require_same_config(comm: mpi.Comm, config: RunConfig) -> None:
    """Refuse ranks whose configurations differ; collective.

    Raises
    ------
    ConfigError
        On every rank, naming a rank and its first field that differs from rank 0's.
    """
    here = config.to_toml().encode()
    first = mpi.bcast_bytes(comm, here)
    with mpi.agreed(comm):
        if here != first:
            raise ConfigError(_difference(here, first))


def _difference(here: bytes, first: bytes) -> str:
    options, expected = (tomllib.loads(data.decode())["train"] for data in (here, first))
    for key, value in expected.items():
        if options[key] != value:
            return f"{key} is {options[key]!r}, but {value!r} on rank 0: give all ranks the same"
    return "the configuration differs from that of rank 0: give all ranks the same"


def machine_facts(blas_library: str) -> dict[str, str]:
    """Return the facts on which the bits of a rank's results depend."""
    return {
        "the processor": f"{provenance.cpu_model()} ({binding.get_host_cpu_name()})",
        "the C library": " ".join(platform.libc_ver()),
        "the BLAS": blas_library,
        "numpy": np.__version__,
        "numba": version("numba"),
        "hpcpgd": __version__,
    }


def program_facts(blas: Any) -> dict[str, str]:
    """Return the facts about the program and its libraries that all ranks must share."""
    sources = provenance.hash_of_sources(Path(__file__).parents[1])[:12]
    return {
        "hpcpgd": f"{__version__} with sources {sources}",
        "Python": platform.python_version(),
        "numpy": np.__version__,
        "numba": version("numba"),
        "mpi4py": version("mpi4py"),
        "the MPI library": mpi.implementation(),
        "the BLAS": provenance.blas_library(blas, kernel=False),
        "the byte order": sys.byteorder,
    }


def require_same_machine(comm: mpi.Comm, blas_library: str) -> None:
    """Refuse ranks on which the same arithmetic may give different bits; collective.

    Raises
    ------
    ConfigError
        On every rank, naming a rank and the first of processor, BLAS and versions in which
        it differs from rank 0.
    """
    cure = "the bits of reduction reproducible would differ; use ranks that are alike, or another"
    require_same(comm, machine_facts(blas_library), cure)


def require_same(comm: mpi.Comm, facts: dict[str, str], cure: str) -> None:
    """Refuse facts that differ from rank 0's; collective.

    Raises
    ------
    ConfigError
        On every rank, naming a rank and the first fact in which it differs from rank 0.
    """
    here = "\n".join(facts.values())
    first = mpi.bcast_bytes(comm, here.encode()).decode()
    with mpi.agreed(comm):
        for (name, value), expected in zip(facts.items(), first.split("\n"), strict=True):
            if value != expected:
                raise ConfigError(f"{name} is {value}, but {expected} on rank 0: {cure}")
