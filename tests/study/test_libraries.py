"""The programs of other libraries find the losses of ``reference``, or say that they do not.

``$HPCPGD_TEST_LIBRARIES`` names a Python that has what
``hpcpgd/study/libraries/requirements.txt`` lists.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import PAPER_FUNCTIONS
from hpcpgd.data import load
from hpcpgd.study.grid import Point
from hpcpgd.study.paper.contest import programs
from hpcpgd.study.paper.paper_table import LIBRARIES
from hpcpgd.study.paper.problem import Problems
from hpcpgd.study.study_folder import Job, StudyFolder
from tests.helpers.support import MINI, ROOT, python

PYTHON = os.environ.get("HPCPGD_TEST_LIBRARIES", "")
needed = pytest.mark.skipif(not PYTHON, reason="HPCPGD_TEST_LIBRARIES names no Python")
BATCHES = (16, 37)  # the second divides nothing


def point(batch: int) -> Point:
    given: dict[str, Any] = {
        "dataset": str(MINI), "hidden": (12, 9), "backend": "reference", "dtype": "float64",
        "batch_size": batch, "epochs": 3, "learning_rate": 0.5, **PAPER_FUNCTIONS,
    }  # fmt: skip
    return Point(1, resolve(given, {}), tuple(sorted(given.items())))


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A problem and the losses of backend ``reference``."""
    place = StudyFolder(tmp_path_factory.mktemp("problem"))
    place.make()
    for batch in BATCHES:
        flags = point(batch).flags()
        python(
            "-m", "hpcpgd.train", *flags, "--output", str(place.run_file(Job(point(batch), 1)))
        ).ended(0)
    problems = Problems(place, load(str(MINI), seed=0))
    points = tuple(point(batch) for batch in BATCHES)
    return problems.write(points[0].config), problems.expect("reference", points)


def run(program: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, str(programs() / program), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


@needed
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("program", LIBRARIES.values())
def test_losses(program: str, threads: int, problem: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run(program, *problem, out, "--rate", 0.5, "--epochs", 3, "--threads", threads)
    assert (done.returncode, done.stderr) == (0, "")
    found, expected = json.loads(out.read_text()), json.loads(problem[1].read_text())
    for batch, losses in expected.items():
        np.testing.assert_allclose(found["losses"][batch], losses, rtol=1e-5)
        assert len(found["epoch_seconds"][batch]) == 2
    assert found["threads"] == threads


@needed
@pytest.mark.parametrize("program", LIBRARIES.values())
def test_another_rate_is_noticed(program: str, problem: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(program, *problem, tmp_path / "out.json", "--rate", 0.51, "--epochs", 3)
    assert done.returncode == 1
    assert "after epoch 1, expected" in done.stderr
    assert not [*tmp_path.iterdir()]


def test_the_problem_is_that_of_the_run(problem: tuple[Path, Path], tmp_path: Path) -> None:
    """NumPy in float64 finds the losses with it, as the programs must."""
    program, out = ROOT / "tests" / "helpers" / "numpy_library.py", tmp_path / "out.json"
    python(str(program), *map(str, (*problem, out)), "--rate", "0.5").good()
    found, expected = json.loads(out.read_text()), json.loads(problem[1].read_text())
    for batch, losses in expected.items():
        np.testing.assert_allclose(found["losses"][batch], losses, rtol=1e-6)
