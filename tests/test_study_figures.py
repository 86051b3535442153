"""What is drawn is what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from hpcpgd.study import figures
from hpcpgd.study.paper import figures as paper_figures
from hpcpgd.study.paper.plan import BATCHES
from hpcpgd.study.paper.results import Results
from hpcpgd.study.paper.table import ROWS
from hpcpgd.study.summary import Summary, summarise
from tests.test_study_paper import results, row
from tests.test_study_summary import repeats


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Figures by name, in place of files."""
    found: dict[str, Any] = {}

    def keep(figure: Any, folder: Path, name: str, caption: str) -> list[Path]:
        found[name] = (figure, caption)
        return []

    for module in (figures, paper_figures):
        monkeypatch.setattr(module, "save", keep)
    yield found
    plt.close("all")  # which save does


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
