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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what this machine could not run, whatever the verbosity."""
    skipped = len(terminalreporter.stats.get("skipped", []))
    if skipped:
        terminalreporter.write_line(f"{skipped} tests were left out; the reasons stand above")
    if "HPCPGD_TEST_DATA" not in os.environ:
        terminalreporter.write_line("HPCPGD_TEST_DATA is not set: tests with real MNIST left out")
