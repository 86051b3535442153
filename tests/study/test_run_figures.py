"""The page of one run: its learning curves, where its time went, the confusion of its test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcpgd.cli import console
from hpcpgd.results.record import Scores
from hpcpgd.results.runfile import write_run_file
from hpcpgd.study import run_figures
from tests.helpers.made_run import EPOCHS, made_run
from tests.helpers.support import inside


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function that draws a run and returns the panels, the title and the caption."""
    kept: list[Any] = []
    monkeypatch.setattr(run_figures, "save", lambda *given: kept.append(given))

    def draw(confusion: Any = ((1, 1), (1, 1)), **changes: Any) -> Any:
        run = made_run(**changes)
        test = Scores(0.75, changes.get("accuracy", 0.25), np.array(confusion))
        write_run_file(tmp_path / "r.h5", replace(run, test=test))
        run_figures.draw(tmp_path / "r.h5", tmp_path / "r.png")
        return kept[-1][0].axes, kept[-1][0].get_suptitle(), kept[-1][3]

    return draw


def test_loss_and_accuracy_of_each_epoch(drawn: Any) -> None:
    panels, title, caption = drawn()
    loss, accuracy = ({line.get_label(): line for line in a.get_lines()} for a in panels[:2])
    assert list(loss["training"].get_ydata()) == [1, 1 / 2, 1 / 3]
    assert list(loss["validation"].get_ydata()) == [2, 1, 2 / 3]
    assert list(loss["validation"].get_xdata()) == [1, 2, 3]
    assert list(accuracy["validation"].get_ydata()) == [0.125] * EPOCHS
    assert accuracy["test: 0.25"].get_xydata().tolist() == [[3, 0.25]]
    assert [axes.get_xlabel() for axes in panels[:2]] == ["epoch"] * 2
    assert title == (
        "Training of a network of hidden width 2 on digits, cpu, 3 logical cores\n"
        "gemm, shared, batch 4, sgd, learning rate 0.1, 2 ranks"
    )
    assert "Status of the run: complete; 2026-01-01" in caption


RANKS = {  # beyond 1,024 ranks the file has statistics alone
    2: {"rank 0": 1, "rank 1": 2},
    17: {"minimum of the ranks": 1, "median of the ranks": 9, "maximum of the ranks": 17},
    1025: {"minimum of the ranks": 1, "median of the ranks": 513, "maximum of the ranks": 1025},
}


@pytest.mark.parametrize("ranks", RANKS)
def test_each_rank_has_a_bar_and_many_have_three(ranks: int, drawn: Any) -> None:
    axes = drawn(ranks=ranks)[0][2]
    assert [text.get_text() for text in axes.get_yticklabels()] == [*RANKS[ranks]]
    for bars, seconds in zip(axes.containers, (0.002, 0.005, 0.001, 0.003, 0.004), strict=True):
        expected = [1000 * seconds * factor for factor in RANKS[ranks].values()]
        assert [bar.get_width() for bar in bars] == pytest.approx(expected)


def test_true_classes_are_the_rows_of_the_confusion(drawn: Any) -> None:
    axes = drawn(((3, 1), (0, 2)))[0][3]
    assert axes.get_images()[0].get_array().tolist() == [[0.75, 0.25], [0, 1]]
    said = {text.get_position(): text.get_text() for text in axes.texts}  # column, row
    assert said == {(0, 0): "3", (1, 0): "1", (0, 1): "", (1, 1): "2"}
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")


def test_without_an_accuracy_there_is_no_panel_of_it(drawn: Any) -> None:
    panels, _, caption = drawn(accuracy=float("nan"), epochs=1)
    assert [axes.get_ylabel() for axes in panels] == ["loss", ""]
    assert all(epoch.is_integer() for epoch in panels[0].get_xticks())  # of a single epoch, too
    assert "Confusion" not in caption


def test_the_command_draws_a_run_file(tmp_path: Path) -> None:
    for name, epochs in (("r", 1), ("begun", 0)):
        write_run_file(tmp_path / f"{name}.h5", made_run(epochs=epochs))
    begins = {"r.png": b"\x89PNG", "p.pdf": b"%PDF", "r.svg": b"<?xml"}
    for words, name in zip(("", "--output p.pdf", "--format svg"), begins, strict=True):
        done = inside(tmp_path, console.main, "plot", "r.h5", *words.split())
        assert (done.code, done.out, done.err) == (0, f"figure  {name}\n", "")
        assert (tmp_path / name).read_bytes().startswith(begins[name])
    for words, code, says in (
        ("plot begun.h5", 65, "begun.h5: no epoch has ended"),
        ("plot r.h5", 74, "--output r.png: exists"),
        ("plot r.h5 --format svg --output q.png", 2, "--output q.png: expected a name in .svg"),
        ("study report r.h5", 65, "r.h5: is a run file, expected a study file: hpcpgd plot r.h5"),
    ):
        inside(tmp_path, console.main, *words.split()).one_line(code, says)
