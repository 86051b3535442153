"""The report of one run: its learning curves, and where its time went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpcpgd.results.runfile import write_run_file
from hpcpgd.study import cli, run_figures
from hpcpgd.study.figure_form import FigureForm
from tests.helpers.made_run import EPOCHS, made_run
from tests.helpers.support import inside


def write(path: Path, **changes: Any) -> None:
    write_run_file(path, made_run(**changes))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Figures and captions by name, in place of files."""
    kept: dict[str, Any] = {}

    def keep(figure: Any, folder: Path, name: str, caption: str, formats: Any) -> list[Path]:
        kept[name] = (figure, caption)
        return []

    monkeypatch.setattr(run_figures, "save", keep)
    return kept


def test_loss_and_accuracy_of_each_epoch(drawn: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "r.h5")
    run_figures.draw(tmp_path / "r.h5", tmp_path, FigureForm())
    figure, caption = drawn["learning"]
    loss, accuracy = ({line.get_label(): line for line in a.get_lines()} for a in figure.axes)
    assert list(loss["training"].get_ydata()) == [1, 1 / 2, 1 / 3]
    assert list(loss["validation"].get_ydata()) == [2, 1, 2 / 3]
    assert list(loss["validation"].get_xdata()) == [1, 2, 3]
    assert list(accuracy["validation"].get_ydata()) == [0.125] * EPOCHS
    assert accuracy["test: 0.25"].get_xydata().tolist() == [[3, 0.25]]
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch"] * 2
    assert figure.get_suptitle() == (
        "Learning curves of a network of hidden width 2 on digits, cpu, 3 logical cores\n"
        "gemm, shared, batch 4, learning rate 0.1, 2 ranks"
    )
    assert "Status of the run: complete; 2026-01-01" in caption


RANKS = {  # beyond 1,024 ranks the file has statistics alone
    2: {"rank 0": 1, "rank 1": 2},
    17: {"minimum of the ranks": 1, "median of the ranks": 9, "maximum of the ranks": 17},
    1025: {"minimum of the ranks": 1, "median of the ranks": 513, "maximum of the ranks": 1025},
}


@pytest.mark.parametrize("ranks", RANKS)
def test_each_rank_has_a_bar_and_many_have_three(
    ranks: int, drawn: dict[str, Any], tmp_path: Path
) -> None:
    write(tmp_path / "r.h5", ranks=ranks)
    run_figures.draw(tmp_path / "r.h5", tmp_path, FigureForm())
    (axes,) = drawn["phases"][0].axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [*RANKS[ranks]]
    for bars, seconds in zip(axes.containers, (0.002, 0.005, 0.001, 0.003, 0.004), strict=True):
        expected = [1000 * seconds * factor for factor in RANKS[ranks].values()]
        assert [bar.get_width() for bar in bars] == pytest.approx(expected)


def test_without_an_accuracy_there_is_no_panel_of_it(drawn: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "r.h5", accuracy=float("nan"), epochs=1)
    run_figures.draw(tmp_path / "r.h5", tmp_path, FigureForm())
    (axes,) = drawn["learning"][0].axes
    assert axes.get_ylabel() == "loss"
    assert all(epoch.is_integer() for epoch in axes.get_xticks())  # of a single epoch, too


def test_the_command_draws_a_run_file(tmp_path: Path) -> None:
    write(tmp_path / "r.h5")
    write(tmp_path / "begun.h5", epochs=0)
    done = inside(tmp_path, cli.main, "report", "r.h5", "--format", "png")
    assert (done.code, done.err) == (0, "")
    assert done.out == "figure  r.figures/learning.png\nfigure  r.figures/phases.png\n"
    assert all((tmp_path / line.split()[1]).is_file() for line in done.out.splitlines())
    done = inside(tmp_path, cli.main, "report", "begun.h5")
    assert (done.code, done.err.count("\n")) == (65, 1)
    assert "begun.h5: no epoch has ended" in done.err
