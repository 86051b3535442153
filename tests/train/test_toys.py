"""The backend and the reduction of hpcpgd/README.md, taken from its text, train as others do."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.support import ROOT, environment, python

README = (ROOT / "hpcpgd" / "README.md").read_text()
# The rows come first, as options are made from the tables; then the files.
PROGRAM = """
import sys
from types import ModuleType
from hpcpgd.config.reduction_table import REDUCTIONS, ReductionTraits
from hpcpgd.kernels.backends.registry import BACKENDS, BackendTraits

backend, reduction = {%s}, {%s}
BACKENDS.update(backend)
REDUCTIONS.update(reduction)

from hpcpgd.train.cli import main

for rows, text in ((backend, %r), (reduction, %r)):
    for traits in rows.values():
        module = sys.modules[traits.module] = ModuleType(traits.module)
        exec(text, vars(module))
sys.exit(main(sys.argv[1:]))
"""
FLAGS = ("--train-rows", "109", "--batch-size", "37", "--epochs", "2", "--dtype", "float64")


def program() -> str:
    """Return a program that knows both rows before options are read, and then trains."""
    backend, reduction = (
        re.search(rf"```python\n# {folder}/\w+\.py\n# (.*)\n(?s:(.*?))```", README)
        for folder in ("kernels/backends", "reductions")
    )
    assert backend is not None
    assert reduction is not None
    return PROGRAM % (backend[1], reduction[1], backend[2], reduction[2])


def trained(folder: Path, ranks: int, *words: str) -> Path:
    """Return the run file of a run of the program."""
    output = folder / f"{'-'.join(words)}.h5"
    python(
        "-c", program(), *words, *FLAGS, "--quiet", "--output", str(output),
        ranks=ranks, env=environment(PYTHONPATH=str(ROOT)),
    ).good()  # fmt: skip
    return output


def weights(output: Path) -> np.ndarray:
    """Return the weights that a run ended with, flat."""
    with h5py.File(output) as file:
        layers = [layer for layer in file["model"].values() if "weights" in layer]
        return np.concatenate([layer["weights"][...].ravel() for layer in layers])


def test_a_plan_that_counts_no_rows_ends_the_run(tmp_path: Path) -> None:
    text = program().replace("self.deltas(", "self.work.totals[:] = 0; self.deltas(")
    words = ("--backend", "einsum", *FLAGS, "--output", str(tmp_path / "r.h5"))
    done = python("-c", text, *words, env=environment(PYTHONPATH=str(ROOT))).ended(70)
    assert "backend einsum counted no row in its totals" in done.err


@pytest.mark.parametrize("toy", [("--backend", "einsum"), ("--reduction", "allgather")])
def test_a_file_and_a_row_are_enough(toy: tuple[str, str], tmp_path: Path) -> None:
    expected = weights(trained(tmp_path, 1, "--backend", "reference"))
    output = trained(tmp_path, 3, *toy)
    np.testing.assert_allclose(weights(output), expected, rtol=0, atol=1e-12)
    with h5py.File(output) as file:  # the sum over the ranks took some time, and is named so
        timing = file["timing/segment1"]
        reduce = timing["phase"].asstr()[...].tolist().index("reduce")
        assert (timing["seconds"][..., reduce] > 0).all()
