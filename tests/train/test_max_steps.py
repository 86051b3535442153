"""``--max-steps``: the exact number of steps, and how a study uses such runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from hpcpgd.config.resolve import resolve
from hpcpgd.study.figures import draw
from hpcpgd.study.grid import Point
from hpcpgd.study.read_run import read_row
from hpcpgd.study.summary import summarise
from hpcpgd.study.tables import scaled_note, summary_table
from tests.helpers.many import Case, together
from tests.helpers.support import python

ROWS, STEPS = 1250, 40  # of an epoch of the digits with minibatches of 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run for every number of ranks and limit that a test asks for."""
    folder, cases = tmp_path_factory.mktemp("made"), {}
    for ranks in (1, 3):
        for limit in (None, 10, STEPS + 10, 2 * STEPS, 2 * STEPS + 3):
            name = f"{ranks}-{limit}.h5"
            flags = ("--max-steps", str(limit)) if limit else ("--epochs", "2")
            rate = ("--learning-rate", "0.001")  # the loss hardly changes
            words = ("train", "--threads", "1", "--quiet", "--output", name, *rate, *flags)
            cases[name] = Case(words, str(folder), ranks)
    for name, done in together(cases).items():
        assert (done.code, done.out, done.err) == (0, "", ""), name
    return folder


def copy(made: Path, folder: Path, limit: int) -> None:
    """Put a run on one rank into a folder, to be changed there."""
    shutil.copy(made / f"1-{limit}.h5", folder / "r.h5")


@pytest.mark.parametrize("ranks", [1, 3])
def test_whole_epochs_are_those_of_a_run_without_it(ranks: int, made: Path) -> None:
    with h5py.File(made / f"{ranks}-None.h5") as file:
        weights = file.attrs["params_sha256"]
    with h5py.File(made / f"{ranks}-{2 * STEPS}.h5") as file:
        assert file.attrs["params_sha256"] == weights
        assert file["history/steps"][...].tolist() == [STEPS, STEPS]


@pytest.mark.parametrize("ranks", [1, 3])
def test_an_epoch_begun_counts_what_it_did(ranks: int, made: Path) -> None:
    with h5py.File(made / f"{ranks}-{STEPS + 10}.h5") as file:
        assert file.attrs["status"] == "complete"
        assert file["segments/last_step"][...].tolist() == [STEPS + 10]
        assert file["history/steps"][...].tolist() == [STEPS, 10]
        assert file["timing/segment1/rows"][...].sum(axis=1).tolist() == [ROWS, 320]
        work = file["history/gflop_per_epoch"][...] * 1e9 / file.attrs["flops_per_example"]
        assert work.round(6).tolist() == [ROWS, 320]
        # The loss is the mean over the rows of these steps, not over those of an epoch.
        assert file["history/train_loss"][1] == pytest.approx(
            file["history/train_loss"][0], rel=0.3
        )


def test_it_says_so(tmp_path: Path) -> None:
    flags = ("-m", "hpcpgd.train", "--max-steps", "5", "--output", "r.h5")
    done = python(*flags, cwd=tmp_path)
    assert "epoch 1/1 " in done.out
    assert "--max-steps: the last epoch has 5 of its 40 steps" in done.out


def point(**given: Any) -> Point:
    return Point(1, resolve(given, {}), tuple(sorted(given.items())))


def history(path: Path, seconds: list[float], steps: list[int]) -> None:
    """Replace what a run recorded by hand-made numbers."""
    with h5py.File(path, "r+") as file:
        file["history/epoch_seconds"][...] = seconds
        assert file["history/steps"][...].tolist() == steps


def test_a_study_scales_steps_to_an_epoch_and_says_so(made: Path, tmp_path: Path) -> None:
    copy(made, tmp_path, 10)
    history(tmp_path / "r.h5", [0.5], [10])
    found = read_row(tmp_path / "r.h5", point(max_steps=10), 1, 1, "m")
    assert (found.scaled, found.steps, found.epochs) == (True, 10, 1)
    assert found.tpe_seconds == pytest.approx(0.5 * ROWS / 320)
    parts = found.data_s + found.compute_s + found.reduce_s + found.wait_s + found.update_s
    with h5py.File(tmp_path / "r.h5") as file:
        timed = float(file["timing/segment1/seconds"][...].sum())
        assert parts == pytest.approx(timed * ROWS / 320)
        whole = float(file.attrs["flops_per_example"]) * ROWS / 1e9
    assert found.gflop_per_epoch == pytest.approx(whole)
    assert found.gflops == pytest.approx(whole / found.tpe_seconds)
    points = summarise([found], "sweep", {})
    assert "10 steps timed, scaled to an epoch" in summary_table(points)
    assert scaled_note(points) == "* 10 steps timed, scaled to an epoch"
    drawn = draw(points, "sweep", tmp_path / "figures", "2026-01-01")
    assert {path.suffix for path in drawn} == {".png", ".pdf"}


def test_whole_epochs_are_taken_where_there_are_some(made: Path, tmp_path: Path) -> None:
    copy(made, tmp_path, 2 * STEPS + 3)
    history(tmp_path / "r.h5", [9.0, 2.0, 0.7], [STEPS, STEPS, 3])
    found = read_row(tmp_path / "r.h5", point(), 1, 1, "m")
    assert (found.scaled, found.steps, found.tpe_seconds) == (False, STEPS, 2.0)
    late = read_row(tmp_path / "r.h5", point(), 1, 2, "m")
    assert (late.scaled, late.steps) == (True, 3)
    assert late.tpe_seconds == pytest.approx(0.7 * ROWS / 96)
