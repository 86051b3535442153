"""Launch the tests of tests/mpi under ``mpiexec`` on 1 and 3 ranks; with --all on 2 and 7."""

from __future__ import annotations

import re

import pytest

from hpcpgd.kernels.tiles.amx import refusal
from tests.helpers.support import ROOT, python

OPTIONS = ("-q", "--only-mpi", "-p", "no:cacheprovider", "-o", "addopts=", "--timeout=600")
# Tests that depend on the number of ranks; 1 and 3 also run types, threads, emulated GPUs and the
# optimisers that differ from sgd and adam in one line.
FEW = ("-k", "not float64 and not gpu and not float32-2 and not momentum and not nesterov")
WITHOUT_AMX = ("-m", "mpi and not amx") if refusal() else ()

more = pytest.mark.long(
    reason="3 ranks have unequal groups and ranks without rows; these are more of the same"
)


@pytest.mark.parametrize("ranks", [1, 3, pytest.param(2, marks=more), pytest.param(7, marks=more)])
def test_mpi(ranks: int) -> None:
    """Every rank must pass the same number of tests, and some."""
    options = OPTIONS + FEW * (ranks not in (1, 3)) + WITHOUT_AMX
    done = python("-m", "pytest", *options, "tests/mpi", ranks=ranks, timeout=280, cwd=ROOT)
    counts = re.findall(r"(\d+) passed", done.out)
    assert done.code == 0, f"{done.out[-3000:]}\n{done.err[-3000:]}"
    assert len(counts) == ranks, done.out[-3000:]
    assert len(set(counts)) == 1
    assert int(counts[0]) > 25
    assert "skipped" not in done.out
