"""The figures of a study show what was measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.font_manager
import numpy as np
import pytest
from PIL import Image

from hpcpgd.errors import UnavailableError, UsageError
from hpcpgd.study import collect, figures, phase_bars, run_figures
from hpcpgd.study.figure_form import FigureForm
from hpcpgd.study.paper import axes
from hpcpgd.study.paper import bar_charts as paper_figures
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.paper_rows import BATCHES
from hpcpgd.study.paper.paper_table import ROWS
from hpcpgd.study.rows import NAN
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.style import figure_style
from hpcpgd.study.summary import Summary, summarise
from hpcpgd.study.tables import summary_table
from tests.helpers.support import environment, python
from tests.study.test_study_paper import results, row
from tests.study.test_study_summary import repeats


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Figures by name, in place of files."""
    found: dict[str, Any] = {}

    def keep(figure: Any, folder: Path, name: str, caption: str, *formats: Any) -> list[Path]:
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


def scaling(drawn: dict[str, Any], name: str = "scaling") -> dict[str, Any]:
    """Return the panels of a scaling figure by what they show."""
    return {axes.get_ylabel(): axes for axes in drawn[name][0].axes}


def legend(figure: Any) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()]


def test_time_speedup_and_efficiency(drawn: dict[str, Any], tmp_path: Path) -> None:
    found = points(logical_cores=32)
    figures.draw(found, "strong", tmp_path, "2026-01-01")
    figure, caption = drawn["scaling"]
    time, speedup, efficiency = figure.axes
    assert (8.0, 4.5, 3.0) in lines(time)
    assert (8.0, 2.0) in lines(time)  # the ideal line
    assert tuple(p.speedup for p in found) in lines(speedup)
    assert (1.0, 4.0) in {tuple(map(float, y)) for y in lines(speedup)}  # the ideal line
    assert tuple(p.efficiency for p in found) in lines(efficiency)
    assert efficiency.get_ylim()[0] == 0
    assert [a.get_xscale() + a.get_yscale() for a in figure.axes] == ["loglog"] * 2 + ["loglinear"]
    assert [a.get_xlabel() for a in figure.axes] == ["ranks"] * 3
    low = speedup.containers[0].lines[1][0].get_ydata()  # the lower caps of the intervals
    assert (np.isnan(low[0]), low[1]) == (True, pytest.approx(7.0 / 5.0))
    low = efficiency.containers[0].lines[1][0].get_ydata()
    assert low[1] == pytest.approx(7.0 / 5.0 / 2)
    low = time.containers[0].lines[1][0].get_ydata()
    assert low[1] == pytest.approx(found[1].ci_low)
    title = "Strong scaling of Net-1h on digits, m, 32 logical cores"
    assert figure.get_suptitle() == f"{title}\nbatch 100, gemm, reduction auto, float32"
    assert legend(figure) == ["ideal"]  # the only series needs no name
    for words in (
        "the 1000 training rows", "median of 3 runs", "Bars: shortest to longest run.",
        "hold its spread", "over 1 rank:", "9 of 9 runs were too short to see",
    ):  # fmt: skip
        assert words in caption
    assert "Hollow" not in caption
    assert "Other processes" not in caption
    assert "Missing" not in caption


def test_a_legend_says_what_varies_and_bars_stand_beside_each_other(
    drawn: dict[str, Any], tmp_path: Path
) -> None:
    rows = [
        r for batch in (128, 1024) for rate in (0.1, 0.25) for ranks in (1, 2)
        for r in repeats(ranks, [4 / ranks, 5 / ranks, 6 / ranks], batch_size=batch,
                         setting=f"epochs 3, learning_rate {rate}")
    ]  # fmt: skip
    figures.draw(summarise(rows, "strong", {}), "strong", tmp_path, "2026-01-01")
    figure = drawn["scaling"][0]
    names = [f"batch {b}, learning rate {rate}" for b in (128, 1024) for rate in (0.1, 0.25)]
    assert legend(figure) == [*names, "ideal"]
    assert "gemm, reduction auto, float32, epochs 3" in figure.get_suptitle()
    assert not figure.legends[0].get_title().get_text()
    assert "over 1 rank of the same batch and learning rate:" in drawn["scaling"][1]
    caps = [bars.lines[1][0].get_xdata()[1] for bars in figure.axes[0].containers]
    assert len(set(caps)) == 4
    assert max(caps) / min(caps) < 1.3
    styles = {(line.get_color(), line.get_marker()) for line in figure.axes[0].get_lines()}
    assert len({style for style in styles if style[1] in "os^D"}) == 4


@pytest.mark.parametrize(
    ("base", "text", "slow", "tick"),
    [({}, "1 rank of the same reduction", 5, 0.5), ({"reduction": "a"}, "gemm a 1x1", 60, 0.1)],
)
def test_reductions_and_their_base(
    base: dict[str, str], text: str, slow: float, tick: float, drawn: dict[str, Any], tmp_path: Path
) -> None:
    rows = [
        r for word, times in {"a": (4.0, 1.0), "b": (3.0, slow)}.items()
        for ranks, seconds in zip((1, 4), times, strict=True)
        for r in repeats(ranks, [seconds] * 6, key=f"{word}{ranks}", reduction=word,
                         given=json.dumps({"reduction": word, "ranks": ranks}))
    ]  # fmt: skip
    figures.draw(summarise(rows, "strong", base), "strong", tmp_path, "2026-01-01")
    figure, caption = drawn["scaling"]
    assert figure.legends[0].get_title().get_text() == "reduction"
    assert (legend(figure), f"Speedup over {text}: " in caption) == (["a", "b", "ideal"], True)
    assert "Bars: 95 % interval of the median." in caption
    low, high = (axes := scaling(drawn)["speedup"]).get_ylim()
    ticks = [t for minor in (False, True) for t in axes.get_yticks(minor=minor) if low < t < high]
    assert min(ticks) == pytest.approx(tick)  # b takes longer on 4 ranks


def test_ranks_and_threads_that_make_as_many_workers_are_two_series() -> None:
    sizes = ((1, 1), (2, 1), (1, 2))
    rows = [r for n, t in sizes for r in repeats(n, [1.0 / n / t], threads=t)]
    found = figures.series(summarise(rows, "strong", {}), "strong")
    names = {name: [(p.ranks, p.threads) for p in group] for name, group in found.items()}
    assert names == {"1 thread a rank": [(1, 1), (2, 1)], "2 threads a rank": [(1, 2)]}


def test_more_series_than_colours_differ_all_the_same(
    drawn: dict[str, Any], tmp_path: Path
) -> None:
    rows = [r for batch in range(1, 9) for n in (1, 2) for r in repeats(n, [1.0], batch_size=batch)]
    figures.draw(summarise(rows, "strong", {}), "strong", tmp_path, "2026-01-01")
    handles = drawn["scaling"][0].legends[0].legend_handles[:-1]
    assert len({(line.get_color(), line.get_marker()) for line in handles}) == 8


def test_a_weak_study_has_no_speedup(drawn: dict[str, Any], tmp_path: Path) -> None:
    rows = repeats(1, [2.0, 2.0, 2.0]) + repeats(4, [2.5, 2.5, 2.5], rows=4000, batch_size=400)
    figures.draw(summarise(rows, "weak", {}), "weak", tmp_path, "2026-01-01")
    panels = scaling(drawn)
    assert list(panels) == ["time per epoch (s)", "efficiency"]
    assert (2.0, 2.0) in lines(panels["time per epoch (s)"])  # the ideal: a constant time
    assert (1.0, 0.8) in lines(panels["efficiency"])
    assert "Every rank has the same work" in drawn["scaling"][1]


def test_more_threads_than_cores_stand_apart(drawn: dict[str, Any], tmp_path: Path) -> None:
    found = points(oversubscribed=True, others_used=1.5)
    figures.draw(found, "strong", tmp_path, "2026-01-01")
    for _, caption in drawn.values():
        assert "used up to 1.5 cores (points concerned: 1 of 3, a cross in " in caption
        assert "study run --retry-disturbed makes these runs again" in caption
    axes = scaling(drawn)["speedup"]
    assert tuple(p.speedup for p in found[:2]) in lines(axes)
    (alone,) = (line for line in axes.get_lines() if line.get_markerfacecolor() == "none")
    assert (alone.get_linestyle(), *alone.get_ydata()) == ("None", found[2].speedup)
    assert "Hollow: more threads" in drawn["scaling"][1]
    (cross,) = (line for line in axes.get_lines() if line.get_marker() == "x")
    assert cross.get_ydata() == [found[2].speedup]


def test_missing_points_are_counted_and_not_drawn(drawn: dict[str, Any], tmp_path: Path) -> None:
    rows = [*repeats(1, [8.0, 8.0, 8.0]), *repeats(2, [4.0, 4.0])]
    rows += repeats(4, [NAN], status="missing")
    found = summarise(rows, "strong", {}, repeats=3)
    figures.draw(found, "strong", tmp_path, "2026-01-01")
    figure, caption = drawn["scaling"]
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["2", "1"]
    assert "Missing, because they failed or have not ended: 1 of 3 points, 4 of 9 runs." in caption
    table = summary_table(found).splitlines()
    assert table[3].endswith("missing: none of 3 runs has ended well")


def test_all_phases_are_stacked_in_milliseconds(drawn: dict[str, Any], tmp_path: Path) -> None:
    names = {"compute": 3.0, "update": 0.125, "data": 0.5, "reduce": 0.25, "wait": 2.0}
    columns: dict[str, Any] = {f"{name}_s": seconds for name, seconds in names.items()}
    (one,) = summarise(repeats(1, [6.0], **columns), "strong", {})
    figures.draw([replace(one, update_s=0.0)], "strong", tmp_path, "2026-01-01")
    assert "is no update, compute holds it. Python and calls between" in drawn["phases"][1]
    figures.draw([one], "strong", tmp_path, "2026-01-01")
    (axes,) = drawn["phases"][0].axes
    bars = [container.patches[0] for container in axes.containers]
    assert [bar.get_width() for bar in bars] == [1000 * seconds for seconds in names.values()]
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(1000 * sum(names.values()))
    assert axes.get_xlabel() == "time per epoch (ms)"
    assert list(names) == legend(drawn["phases"][0])
    assert all(f"{name}: " in drawn["phases"][1] for name in names)
    assert "compute holds" not in drawn["phases"][1]


def test_bars_are_grouped_by_case_and_then_by_ranks(drawn: dict[str, Any], tmp_path: Path) -> None:
    rows = [
        r for ranks in (1, 2) for word in ("allreduce", "shared")
        for r in repeats(ranks, [8.0], key=f"{word}{ranks}",
                         given=json.dumps({"reduction": word, "ranks": ranks}))
    ]  # fmt: skip
    figures.draw(summarise(rows, "strong", {}), "strong", tmp_path, "2026-01-01")
    (axes,) = drawn["phases"][0].axes
    assert [text.get_text() for text in axes.texts] == ["allreduce", "shared"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1 rank", "2 ranks"] * 2
    assert list(axes.get_yticks()) == sorted(axes.get_yticks())


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
    python(*words, env=environment(**variables), cwd=folder).good()
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
        label = figure.axes[0].xaxis.label
        assert (label.get_usetex(), label.get_fontsize()) == (False, 9)
        assert all(line.get_linewidth() < 9 for axes in figure.axes for line in axes.get_lines())


def test_dollar_signs_are_no_mathematics(tmp_path: Path) -> None:
    drawn = figures.draw(points(machine="a$_b$ and ^$x"), "strong", tmp_path, "$^$")
    assert sorted(tmp_path.iterdir()) == sorted(drawn)


def test_size_title_and_formats_are_those_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form = FigureForm((7.0, 4.0), "My title", ("svg", "png"))
    drawn = figures.draw(points(), "strong", tmp_path, "2026-01-01", form)
    assert [p.name for p in drawn] == [
        f"{name}.{kind}" for name in ("scaling", "phases") for kind in ("svg", "png")
    ]
    with Image.open(tmp_path / "scaling.png") as image:
        assert image.size == (1050, 600)
    again = figures.draw(points(), "strong", tmp_path / "again", "2026-01-01", form)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in drawn]
    for size in ((2.0, 2.0), (4.0, 3.0)):  # no room at all, panels of 0.4 inches
        with pytest.raises(UsageError, match=r"no room in scaling for .* \(it has 3\) beside"):
            figures.draw(points(), "strong", tmp_path, "2026-01-01", FigureForm(size))
    assert capsys.readouterr().out == ""
    phase_bars.make([{"": {str(n): [1.0] * 5 for n in range(16)}}], "", (7.0, 3.0))
    assert "phases is 5.0 inches high: its bars" in capsys.readouterr().out


def test_a_network_that_was_not_run_has_an_empty_figure(tmp_path: Path) -> None:
    found = Results([row("Naive Serial", "net-1h", 32, 8.0)], (32,))
    chart = paper_figures.Chart(
        7, "net-2h", paper_figures.SECONDS, paper_figures.Legend(2, ROWS, {}), found
    )
    with figure_style():
        drawn = chart.draw(tmp_path, "caption")
    assert sorted(tmp_path.iterdir()) == sorted(drawn)


@pytest.mark.parametrize("draw", [figures.draw, run_figures.draw, paper_figures.draw, axes.draw])
def test_without_matplotlib_one_line_says_what_to_install(
    draw: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(UnavailableError, match=r"matplotlib cannot be loaded: .*\[report\]'"):
        draw()
