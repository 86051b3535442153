"""The backend and the reduction of hpcpgd/README.md, taken from its text, train as others do."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.support import ROOT, environment, python

README = (ROOT / "hpcpgd" / "README.md").read_text()
# The rows come first, as options are made from the tables; then the files, with their imports,
# which the README's ten lines leave out.
PROGRAM = """
import sys
from types import ModuleType
from hpcpgd.config.reduction_table import REDUCTIONS, ReductionTraits
from hpcpgd.kernels.backends.registry import BACKENDS, BackendTraits

backend, reduction = {%s}, {%s}
BACKENDS.update(backend)
REDUCTIONS.update(reduction)

import numpy as np
from hpcpgd.kernels.backends import reference
from hpcpgd.parallel import mpi
from hpcpgd.reductions.allreduce import Allreduce, private_engine
from hpcpgd.reductions.traffic import summed_bytes
from hpcpgd.train.cli import main

names = dict(globals())
for rows, text in ((backend, %r), (reduction, %r)):
    for traits in rows.values():
        module = sys.modules[traits.module] = ModuleType(traits.module)
        vars(module).update(names)
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


def weights(folder: Path, ranks: int, *words: str) -> np.ndarray:
    """Return the weights that a run of the program ends with."""
    output = str(folder / f"{'-'.join(words)}.h5")
    done = python(
        "-c", program(), *words, *FLAGS, "--quiet", "--output", output,
        ranks=ranks, env=environment(PYTHONPATH=str(ROOT)),
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    with h5py.File(output) as file:
        layers = [layer for layer in file["model"].values() if "weights" in layer]
        return np.concatenate([layer["weights"][...].ravel() for layer in layers])


@pytest.mark.parametrize("toy", [("--backend", "einsum"), ("--reduction", "gather")])
def test_a_file_and_a_row_are_enough(toy: tuple[str, str], tmp_path: Path) -> None:
    expected = weights(tmp_path, 1, "--backend", "reference")
    np.testing.assert_allclose(weights(tmp_path, 3, *toy), expected, rtol=0, atol=1e-12)
