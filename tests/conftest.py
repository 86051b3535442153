"""Shared by all tests: no test writes to the user's folders or inherits a launcher."""

from __future__ import annotations

import os

import pytest

from hpcpgd import jitcache
from hpcpgd.launch import RANK_VARIABLES, SIZE_VARIABLES

# As the program does it, before numba is imported: a cache that forgets changed sources.
os.environ["NUMBA_CACHE_DIR"] = str(jitcache.choose_folder())


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test sees the environment of a plain shell."""
    for name in (*RANK_VARIABLES, *SIZE_VARIABLES, "HPCPGD_BLAS", "HPCPGD_DATA"):
        monkeypatch.delenv(name, raising=False)


def gpu_missing() -> str:
    """Say why tests marked ``gpu`` cannot run here, "" if they can."""
    try:
        import cupy

        return "" if cupy.cuda.runtime.getDeviceCount() else "CuPy sees no device"
    except ImportError:
        return "CuPy is not installed"
    except RuntimeError as error:  # no driver
        return str(error)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, by name, what needs a GPU where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    why = gpu_missing() if marked else ""
    for item in marked if why else []:
        item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {why}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what this machine could not run, whatever the verbosity."""
    reports = terminalreporter.stats.get("skipped", [])
    skipped = len(reports)
    on_gpu = sum("gpu" in getattr(report, "keywords", ()) for report in reports)
    if on_gpu:
        terminalreporter.write_line(f"{on_gpu} tests that need a GPU were left out")
    if skipped:
        terminalreporter.write_line(f"{skipped} tests were left out; the reasons stand above")
    if "HPCPGD_TEST_DATA" not in os.environ:
        terminalreporter.write_line("HPCPGD_TEST_DATA is not set: tests with real MNIST left out")
