"""What is drawn is what was measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.font_manager
import pytest

from hpcpgd.errors import UnavailableError
from hpcpgd.study import collect, figures
from hpcpgd.study.paper import axes
from hpcpgd.study.paper import bar_charts as paper_figures
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.paper_rows import BATCHES
from hpcpgd.study.paper.paper_table import ROWS
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.style import our_look
from hpcpgd.study.summary import Summary, summarise
from tests.helpers.support import environment, python
from tests.study.test_study_paper import results, row
from tests.study.test_study_summary import repeats


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Figures by name, in place of files."""
    found: dict[str, Any] = {}

    def keep(figure: Any, folder: Path, name: str, caption: str) -> list[Path]:
        found[name] = (figure, caption)
        return []

    for module in (figures, paper_figures):
        monkeypatch.setattr(module, "save", keep)
    return found


def points(**of_four: Any) -> list[Summary]:
    rows = repeats(1, [8.0, 9.0, 7.0]) + repeats(2, [4.0, 5.0, 4.5])
    return summarise([*rows, *repeats(4, [3.0, 3.0, 3.0], **of_four)], "strong", {})


def lines(axes: Any) -> dict[tuple[float, ...], Any]:
    return {tuple(line.get_ydata()): line for line in axes.get_lines()}


def test_speedup_beside_efficiency(drawn: dict[str, Any], tmp_path: Path) -> None:
    found = points()
    figures.draw(found, "strong", tmp_path, "2026-01-01")
    left, right = drawn["scaling"][0].axes
    assert tuple(p.speedup for p in found) in lines(left)
    assert tuple(p.efficiency for p in found) in lines(right)
    assert (1.0, 4.0) in {tuple(map(float, y)) for y in lines(left)}  # the ideal line
    assert right.get_ylim()[0] == 0
    assert (left.get_yscale(), right.get_yscale()) == ("log", "linear")
    assert "base: gemm allreduce 1x1" in drawn["scaling"][1]
    low = left.containers[0].lines[1][0].get_ydata()  # the lower caps of the intervals
    assert low[1] == pytest.approx(8.0 / found[1].ci_high)


def test_more_threads_than_cores_stand_apart(drawn: dict[str, Any], tmp_path: Path) -> None:
    found = points(oversubscribed=True)
    figures.draw(found, "strong", tmp_path, "2026-01-01")
    by_height = lines(drawn["scaling"][0].axes[0])
    assert tuple(p.speedup for p in found[:2]) in by_height
    alone = by_height[(found[2].speedup,)]
    assert (alone.get_linestyle(), alone.get_markerfacecolor()) == ("None", "none")


def test_all_phases_are_stacked(drawn: dict[str, Any], tmp_path: Path) -> None:
    names = {"data_s": 0.5, "compute_s": 3.0, "reduce_s": 0.25, "wait_s": 2.0, "update_s": 0.125}
    (one,) = summarise(repeats(1, [6.0], **names), "strong", {})
    figures.draw([one], "strong", tmp_path, "2026-01-01")
    (axes,) = drawn["phases"][0].axes
    bars = {c.get_label(): c.patches[0] for c in axes.containers}
    assert {f"{k}_s": bar.get_height() for k, bar in bars.items()} == names
    top = max(bar.get_y() + bar.get_height() for bar in bars.values())
    assert top == pytest.approx(sum(names.values()))


def test_bars_that_differ_in_their_reduction_say_so(drawn: dict[str, Any], tmp_path: Path) -> None:
    found = summarise(
        [*repeats(1, [8.0]), *repeats(1, [7.0], reduction="shared", key="s")], "strong", {}
    )
    figures.draw(found, "strong", tmp_path, "2026-01-01")
    labels = [text.get_text() for text in drawn["phases"][0].axes[0].get_xticklabels()]
    assert labels == ["net-1h\nb 100\nallreduce\n1x1", "net-1h\nb 100\nshared\n1x1"]


def test_series_of_a_weak_study_keep_together_whatever_the_rounding() -> None:
    rows = [
        replace(r, rows=n) for r, n in zip(
            [x for k in (1, 2, 4) for x in repeats(k, [1.0], setting="rows_per_rank 2000")],
            (1667, 3334, 6667), strict=True,
        )
    ]  # fmt: skip
    found = figures.series(summarise(rows, "weak", {}), "weak")
    assert [len(group) for group in found.values()] == [3]


def test_bars_stand_at_their_batch_size(drawn: dict[str, Any], tmp_path: Path) -> None:
    times = {"Naive Serial": {32: 8.0, 1024: 6.0}, "Multicore Parallel": {32: 4.0, 1024: 2.0}}
    legend = paper_figures.Legend(2, ROWS, {"cuda": "no device"})
    paper_figures.draw(results(times, BATCHES), legend, tmp_path, "caption")
    axes = drawn["figure-05-net-1h"][0].axes[0]
    bars = {c.get_label(): c for c in axes.containers}
    for name, by_batch in times.items():
        places = [round(bar.get_x() + bar.get_width() / 2) for bar in bars[name]]
        assert places == [0, 5]
        assert [bar.get_height() for bar in bars[name]] == list(by_batch.values())
    assert "cuda (no device)" in bars
    speedups = drawn["figure-09-net-1h"][0].axes[0].containers
    heights = {c.get_label(): [bar.get_height() for bar in c] for c in speedups}
    assert heights["Multicore Parallel"] == [2.0, 3.0]


def test_a_speedup_over_a_scaled_base_is_marked(drawn: dict[str, Any], tmp_path: Path) -> None:
    rows = [
        replace(row("Naive Serial", "net-1h", 32, 8.0), scaled=True, steps=7),
        row("Multicore Parallel", "net-1h", 32, 4.0), row("Multicore Parallel", "net-1h", 64, 4.0),
    ]  # fmt: skip
    legend = paper_figures.Legend(2, ROWS, {})
    paper_figures.draw(Results(rows, (32, 64)), legend, tmp_path, "caption")
    for name, marks in (("figure-05-net-1h", 1), ("figure-09-net-1h", 1), ("figure-07-net-2h", 0)):
        figure, caption = drawn[name]
        assert [text.get_text() for text in figure.axes[0].texts] == ["*"] * marks
        assert ("* 7 steps timed, scaled to an epoch" in caption) == bool(marks)


def _variables(folder: Path) -> dict[str, str]:
    """Return variables that name a backend, and settings, styles and fonts, all of them bad."""
    lines = ("text.usetex: True", "font.family: NoSuchFont", "font.size: large as life", "colon")
    (folder / "theirs").write_text("\n".join(lines))
    (folder / "config" / "stylelib").mkdir(parents=True)
    (folder / "config" / "stylelib" / "bad.mplstyle").write_bytes(b"\xff")
    fonts = f"fontlist-v{matplotlib.font_manager.FontManager.__version__}.json"
    (folder / "config" / fonts).write_text("{}")
    return {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(folder / "theirs"), "MPLCONFIGDIR": str(folder / "config"),
        "FREETYPE_PROPERTIES": "truetype:interpreter-version=35", "PYTHONWARNINGS": "error",
    }  # fmt: skip


def _files(folder: Path) -> dict[str, str]:
    """Return variables that lead nowhere; leave a matplotlibrc that cannot be decoded."""
    (folder / "matplotlibrc").write_bytes(b"axes.facecolor: red\n\xff\n")
    nowhere = dict.fromkeys(("HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME"), "/proc/none")
    return {"MPLBACKEND": "nonsense", **nowhere}


SETTINGS = {"variables": _variables, "files": _files}


def report(folder: Path, **variables: str) -> dict[str, bytes]:
    """Return the figures of a report of a study of three points."""
    rows = [r for ranks in (1, 2, 4) for r in repeats(ranks, [8.0 / ranks] * 3)]
    collect.write(folder / "study.h5", StudyFile("s", "strong"), rows, len(rows))
    words = ("-m", "hpcpgd.study", "report", "study.h5")
    done = python(*words, env=environment(**variables), cwd=folder)
    assert (done.code, done.err) == (0, "")
    return {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the figures of a user without settings."""
    found = report(tmp_path_factory.mktemp("plain"), MPLCONFIGDIR="")
    assert set(found) == {f"{name}.{kind}" for name in ("scaling", "phases")
                          for kind in ("png", "pdf")}  # fmt: skip
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_of_a_user_changes_a_figure(
    name: str, plain: dict[str, bytes], tmp_path: Path
) -> None:
    assert report(tmp_path, **SETTINGS[name](tmp_path)) == plain


def test_settings_of_the_process_neither_enter_nor_are_changed(
    drawn: dict[str, Any], tmp_path: Path
) -> None:
    theirs: Any = {"text.usetex": True, "font.size": 30.0, "lines.linewidth": 9.0}
    with matplotlib.rc_context(theirs):
        figures.draw(points(), "strong", tmp_path, "2026-01-01")
        found = Results([row("Naive Serial", "net-1h", 32, 8.0)], (32,))
        paper_figures.draw(found, paper_figures.Legend(2, ROWS, {}), tmp_path, "caption")
        assert {key: matplotlib.rcParams[key] for key in theirs} == theirs
    assert len(drawn) == 8
    for figure, _ in drawn.values():
        label = figure.axes[0].yaxis.label
        assert (label.get_usetex(), label.get_fontsize()) == (False, 9)
        assert all(line.get_linewidth() < 9 for axes in figure.axes for line in axes.get_lines())


def test_dollar_signs_are_no_mathematics(tmp_path: Path) -> None:
    drawn = figures.draw(points(machine="a$_b$ and ^$x"), "strong", tmp_path, "$^$")
    assert sorted(tmp_path.iterdir()) == sorted(drawn)


def test_a_network_that_was_not_run_has_an_empty_figure(tmp_path: Path) -> None:
    found = Results([row("Naive Serial", "net-1h", 32, 8.0)], (32,))
    chart = paper_figures.Chart(7, "net-2h", "s", paper_figures.Legend(2, ROWS, {}), found)
    with our_look():
        drawn = chart.draw(lambda *_: {}, tmp_path, "caption")
    assert sorted(tmp_path.iterdir()) == sorted(drawn)


@pytest.mark.parametrize("draw", [figures.draw, paper_figures.draw, axes.draw])
def test_without_matplotlib_one_line_says_what_to_install(
    draw: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends", None)
    with pytest.raises(UnavailableError, match=r"matplotlib cannot be loaded: .*\[report\]'"):
        draw()
