"""``--max-steps``: so many steps and no more, and what a study makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pytest

from hpcpgd.resolve import resolve
from hpcpgd.study.figures import draw
from hpcpgd.study.grid import Point
from hpcpgd.study.read_run import read_row
from hpcpgd.study.summary import summarise
from hpcpgd.study.tables import scaled_note, summary_table
from tests.support import python

TRAIN = ("-m", "hpcpgd.train", "--threads", "1", "--quiet", "--output", "r.h5", "--overwrite")
ROWS, STEPS = 1250, 40  # of an epoch of the digits with minibatches of 32


def run(folder: Path, ranks: int, *flags: str) -> h5py.File:
    done = python(*TRAIN, *flags, ranks=ranks, cwd=folder)
    assert (done.code, done.err) == (0, "")
    return h5py.File(folder / "r.h5")


@pytest.mark.parametrize("ranks", [1, 3])
def test_whole_epochs_are_those_of_a_run_without_it(ranks: int, tmp_path: Path) -> None:
    with run(tmp_path, ranks, "--epochs", "2") as file:
        weights = file.attrs["params_sha256"]
    with run(tmp_path, ranks, "--max-steps", str(2 * STEPS)) as file:
        assert file.attrs["params_sha256"] == weights
        assert file["history/steps"][...].tolist() == [STEPS, STEPS]


@pytest.mark.parametrize("ranks", [1, 3])
def test_an_epoch_begun_counts_what_it_did(ranks: int, tmp_path: Path) -> None:
    with run(tmp_path, ranks, "--max-steps", str(STEPS + 10)) as file:
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


def test_a_study_scales_steps_to_an_epoch_and_says_so(tmp_path: Path) -> None:
    run(tmp_path, 1, "--max-steps", "10").close()
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


def test_whole_epochs_are_taken_where_there_are_some(tmp_path: Path) -> None:
    run(tmp_path, 1, "--max-steps", str(2 * STEPS + 3)).close()
    history(tmp_path / "r.h5", [9.0, 2.0, 0.7], [STEPS, STEPS, 3])
    found = read_row(tmp_path / "r.h5", point(), 1, 1, "m")
    assert (found.scaled, found.steps, found.tpe_seconds) == (False, STEPS, 2.0)
    late = read_row(tmp_path / "r.h5", point(), 1, 2, "m")
    assert (late.scaled, late.steps) == (True, 3)
    assert late.tpe_seconds == pytest.approx(0.7 * ROWS / 96)
