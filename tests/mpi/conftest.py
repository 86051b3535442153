"""Tests that run inside an MPI job, on every rank: see tests/parallel/test_mpi.py."""

from __future__ import annotations

import atexit
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from hpcpgd.parallel import mpi

FOLDER = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give each rank its own folder: one rank would delete pytest's folders that another lists."""
    if config.getoption("only_mpi") or config.getoption("with_mpi"):
        config.stash[FOLDER] = tempfile.TemporaryDirectory(prefix="hpcpgd-tests-")
        config.option.basetemp = Path(config.stash[FOLDER].name, "base")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folder."""
    if FOLDER in config.stash:
        config.stash[FOLDER].cleanup()


@pytest.fixture(scope="session")
def comm() -> Any:
    # As the program does it; the BLAS's own threads would spin against other ranks.
    threadpool_limits(1, user_api="blas")
    mpi.start()
    atexit.register(mpi.finish)  # pytest-mpi still asks for the rank after the last test
    return mpi.MPI.COMM_WORLD


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """End the whole job at the first failure: the other ranks may wait for this one."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's, untyped
    if report.failed:
        world = mpi.MPI.COMM_WORLD
        told = f"rank {world.rank} of {world.size}: {item.name}\n{report.longrepr}"
        print(told, file=sys.__stderr__)
        mpi.abort(world, 1)
