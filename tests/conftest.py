"""Shared by all tests: no test writes to the user's folders or inherits a launcher."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hpcpgd.cli.launcher import RANK_VARIABLES, SIZE_VARIABLES
from hpcpgd.kernels.blas import mkl
from hpcpgd.kernels.tiles.amx import refusal
from hpcpgd.machine import jit_cache

jit_cache.use(jit_cache.choose())  # as the program does it
# A shell lets its background jobs ignore Ctrl-C, and so would the jobs of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test sees the environment of a plain shell."""
    for name in (*RANK_VARIABLES, *SIZE_VARIABLES, "HPCPGD_BLAS", "HPCPGD_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _threads_joined() -> Iterator[None]:
    """A test that starts worker threads also ends them: see ``WorkerPool.close``."""
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith(("pool", "team"))] == []


def gpu_missing() -> str:
    """Say why tests marked ``gpu`` cannot run here, "" if they can."""
    try:
        import cupy

        return "" if cupy.cuda.runtime.getDeviceCount() else "CuPy sees no device"
    except ImportError:
        return "CuPy is not installed"
    except RuntimeError as error:  # no driver
        return str(error)


def slurm_missing() -> str:
    """Say why tests marked ``slurm`` cannot run here, "" if they can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    needed = ("munged", "slurmctld", "slurmd", "sbatch")
    missing = [name for name in needed if shutil.which(name, path=path) is None]
    return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge" if missing else ""


MISSING: dict[str, Callable[[], str]] = {
    "gpu": gpu_missing, "slurm": slurm_missing, "amx": refusal,
    "mkl": lambda: "" if mkl.installed() else "pip install 'hpcpgd[mkl]'",
}  # fmt: skip
LEFT = pytest.StashKey[int]()  # how many long tests this session leaves to --all
# The files that take longest, in that order: with two workers the last file should be a short one.
SLOWEST = (
    "test_slurm", "test_scripts", "test_study_paper_command", "test_jit_cache", "test_resume",
    "test_jobs", "test_study_jobs", "test_mpi", "test_bench", "test_cuda_kernels", "test_bits",
    "test_openmpi", "test_fuzz", "test_check_gpu", "test_kit", "test_startup", "test_bench_peers",
    "test_freed_memory", "test_stop", "test_cuda_jobs", "test_runs", "test_doctor",
    "test_packaging",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """Give pytest the flag of ``scripts/test.sh``."""
    parser.addoption("--all", action="store_true", help="run the long tests, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect long tests without --all, and skip tests that need what this machine lacks."""
    items.sort(key=_place)
    _leave_long(config, items)
    _skip_impossible(items)


def _place(item: pytest.Item) -> int:
    """Return the place of a test's file among the slowest; other files come after them."""
    name = item.path.stem
    return SLOWEST.index(name) if name in SLOWEST else len(SLOWEST)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the count of a pytest-xdist worker to the process that prints the summary."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left"] = session.config.stash.get(LEFT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the count of a worker, each of which has collected all tests."""
    node.config.stash[LEFT] = getattr(node, "workeroutput", {}).get("left", 0)


def _leave_long(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests marked ``long`` without --all; each of them gives its reason."""
    marks = [(item, item.get_closest_marker("long")) for item in items]
    unexplained = [item.nodeid for item, mark in marks if mark and not mark.kwargs.get("reason")]
    if unexplained:
        raise pytest.UsageError(f"long without a reason: {', '.join(unexplained)}")
    left = [] if config.getoption("--all") else [item for item, mark in marks if mark]
    config.stash[LEFT] = len(left)
    if left:
        items[:] = [item for item, mark in marks if not mark]
        config.hook.pytest_deselected(items=left)


def _skip_impossible(items: list[pytest.Item]) -> None:
    """Skip, by name, what needs what this machine lacks; $HPCPGD_TEST_REQUIRE forbids it."""
    required = os.environ.get("HPCPGD_TEST_REQUIRE", "").split()
    for name, missing in MISSING.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        why = missing() if marked else ""
        if why and name in required:
            raise pytest.UsageError(f"HPCPGD_TEST_REQUIRE={name}: {why}")
        for item in marked if why else []:
            item.add_marker(pytest.mark.skip(reason=f"needs {name}: {why}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run here, whatever the verbosity."""
    reports = terminalreporter.stats.get("skipped", [])
    skipped = len(reports)
    needs = (("gpu", "a GPU"), ("slurm", "SLURM"), ("amx", "AMX"), ("mkl", "oneMKL"))
    for name, what in needs:
        count = sum(name in getattr(report, "keywords", ()) for report in reports)
        if count:
            terminalreporter.write_line(f"{count} tests that need {what} were left out")
    if skipped:
        terminalreporter.write_line(f"{skipped} tests were left out; the reasons stand above")
    left = terminalreporter.config.stash.get(LEFT, 0)
    if left:
        terminalreporter.write_line(f"{left} long tests were left to scripts/test.sh --all")
    if "HPCPGD_TEST_DATA" not in os.environ:
        terminalreporter.write_line("HPCPGD_TEST_DATA is not set: tests with real MNIST left out")
