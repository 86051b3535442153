"""Medians, intervals, speedups and factors, worked by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpcpgd.study.collect import _separate_models
from hpcpgd.study.figures import series
from hpcpgd.study.rows import Row
from hpcpgd.study.summary import interval, summarise
from hpcpgd.study.tables import factors_table, failures, remarks, summary_table


def row(ranks: int, seconds: float, **others: Any) -> Row:
    made = Row(
        "m", "", "", "", "gemm", "allreduce", "net-1h", "digits", "float32", "float32", 1000,
        100, ranks, 1, 1, 0, "", 1, epochs=2, tpe_seconds=seconds, gflop_per_epoch=8.0,
        gflops=8.0 / seconds, data_s=0.0, compute_s=seconds, reduce_s=0.0, wait_s=0.0,
        update_s=0.0, useful_mean_s=seconds, useful_max_s=seconds,
    )  # fmt: skip
    made = replace(made, **others)
    given = {
        "ranks": made.ranks, "threads": made.threads, "backend": made.backend,
        "train_rows": made.rows, "batch_size": made.batch_size, "setting": made.setting,
    }  # fmt: skip
    text = json.dumps(given)
    return replace(made, given=made.given or text, key=made.key or text)


def repeats(ranks: int, times: list[float], **others: Any) -> list[Row]:
    return [row(ranks, t, repeat=i, **others) for i, t in enumerate(times, 1)]


def test_speedup_and_efficiency_of_a_strong_study() -> None:
    rows = repeats(1, [8, 9, 7]) + repeats(2, [4, 5, 4.5]) + repeats(4, [1.9, 2, 1.8])
    one, two, four = summarise(rows, "strong", {})
    assert (one.median, one.speedup, one.efficiency) == (8, 1, 1)
    assert (two.speedup, two.efficiency) == (pytest.approx(8 / 4.5), pytest.approx(8 / 9))
    assert (four.speedup, four.superlinear) == (pytest.approx(8 / 1.9), True)
    assert two.base == "gemm allreduce 1x1"
    assert (two.gflops, one.repeats, one.wanted) == (pytest.approx(8 / 4.5), 3, 3)
    assert "superlinear" in remarks(four)
    assert np.isnan([one.speedup_low, one.speedup_high]).all()  # 1 by definition
    assert (two.speedup_low, two.speedup_high) == (7 / 5, 9 / 4)  # the base's spread is in them


def test_a_weak_study_compares_times() -> None:
    rows = repeats(1, [2.0]) + repeats(4, [2.5], rows=4000, batch_size=400)
    _, four = summarise(rows, "weak", {})
    assert (four.efficiency, four.speedup) == (pytest.approx(0.8), pytest.approx(3.2))
    rows = repeats(1, [1.0, 2.0, 3.0]) + repeats(4, [2.0, 2.5, 4.0], rows=4000, batch_size=400)
    assert summarise(rows, "weak", {})[1].speedup_low == 4 * 1.0 / 4.0


def test_one_curve_of_a_reduction_that_was_left_to_the_program() -> None:
    asked = {"backend": "gemm"}  # auto, which is allreduce on one rank and shared on two
    rows = [
        made
        for ranks, reduction in ((1, "allreduce"), (2, "shared"))
        for made in repeats(
            ranks, [8.0 / ranks], reduction=reduction, given=json.dumps({**asked, "ranks": ranks})
        )
    ]
    given = json.dumps({**asked, "ranks": 1, "reduction": "allreduce"})
    more = repeats(1, [9.0], given=given, key="other")
    found = summarise([*rows, *more], "strong", {})
    assert [p.asked_reduction for p in found] == ["auto", "auto", "allreduce"]
    assert [p.reduction for p in found] == ["allreduce", "shared", "allreduce"]
    assert [p.speedup for p in found] == [1, 2, 1]
    curves = series(found, "strong")
    assert {name: len(curve) for name, curve in curves.items()} == {
        "reduction auto": 2, "allreduce": 1,
    }  # fmt: skip


def test_the_base_can_be_another_backend() -> None:
    rows = repeats(1, [10.0], backend="loops") + repeats(1, [1.0]) + repeats(2, [0.5])
    found = summarise(rows, "sweep", {"backend": "loops", "ranks": 1})
    assert [p.speedup for p in found] == [1, 10, 20]
    assert {p.base for p in found} == {"loops allreduce 1x1"}
    for others in ({"backend": "loops"}, {"precision": "bf16"}, {}):  # only the last says scaling
        rows = repeats(1, [10.0], key="b", **others) + repeats(2, [1.0], key="p")
        (_, two), same = (found := summarise(rows, "sweep", {"ranks": 1})), not others
        assert ("superlinear" in remarks(two), "disturbed" in factors_table(found)) == (same, same)


def test_a_sweep_without_a_base_claims_no_scaling() -> None:
    found = summarise(repeats(1, [1.0]) + repeats(2, [0.5]), "sweep", {})
    assert all(np.isnan(p.speedup) and p.base == "" for p in found)


def test_no_ratio_crosses_machines() -> None:
    rows = repeats(1, [8.0]) + repeats(2, [1.0], machine="other")
    found = {p.machine: p for p in summarise(rows, "strong", {})}
    assert found["other"].base == "gemm allreduce 2x1"
    assert found["other"].speedup == 1
    fixed = summarise(rows, "strong", {"ranks": 1})
    assert np.isnan(fixed[1].speedup)


def test_failed_runs_count_for_nothing_and_are_named() -> None:
    bad = row(2, float("nan"), repeat=2, status="timed out", error="exit code -1: no end after 3 s")
    rows = [*repeats(1, [8.0]), row(2, 4.0), bad]
    _, two = summarise(rows, "strong", {})
    assert (two.repeats, two.wanted, two.speedup) == (1, 2, 2)
    assert "1 of 2 runs are missing or did not end well" in remarks(two)
    (one,) = summarise(repeats(1, [8.0, 8.0]), "strong", {}, 5)
    assert "3 of 5 runs are missing or did not end well" in remarks(one)
    assert failures(rows) == (
        "timed out: gemm allreduce net-1h batch 100, 2 ranks, repeat 2: "
        "exit code -1: no end after 3 s"
    )


def test_oversubscribed_points_are_marked() -> None:
    found = summarise(repeats(1, [8.0]) + repeats(8, [0.5], oversubscribed=True), "strong", {})
    assert found[1].oversubscribed
    assert "no scaling" in summary_table(found)
    assert "superlinear" not in summary_table(found)


def test_points_are_told_apart_by_their_key() -> None:
    rows = repeats(1, [1.0], setting="learning_rate 0.1") + repeats(1, [3.0], setting="loss mse")
    assert [p.median for p in summarise(rows, "sweep", {})] == [1.0, 3.0]


def test_a_failed_run_joins_its_point_whatever_it_knows() -> None:
    good = repeats(1, [8.0]) + repeats(2, [4.0])
    early = replace(good[1], repeat=2, status="failed", rows=0, nodes=0, reduction="auto",
                    tpe_seconds=float("nan"))  # fmt: skip
    for rows in ([*good, early], [early, *good]):
        found = {p.ranks: p for p in summarise(rows, "strong", {})}
        assert (found[2].wanted, found[2].repeats, found[2].rows) == (2, 1, 1000)
        assert found[2].speedup == pytest.approx(2)
        assert "1 of 2 runs are missing or did not end well" in remarks(found[2])


def test_a_failed_run_that_knew_no_threads_is_no_base() -> None:
    """With threads = auto it has 0: fewer than any other, were they counted."""
    bad = repeats(64, [float("nan")], status="failed", threads=0)
    one, two, _ = summarise([*repeats(1, [8.0]), *repeats(2, [4.0]), *bad], "strong", {})
    assert (one.speedup, two.speedup, two.base) == (1, 2, "gemm allreduce 1x1")


def test_precisions_are_told_apart_in_tables() -> None:
    rows = repeats(1, [8.0]) + repeats(1, [4.0], precision="tf32", key="tf32")
    found = summarise(rows, "sweep", {})
    assert "tf32" in summary_table(found)
    assert "tf32" in factors_table(found)
    assert [*series(found, "sweep")] == ["products in float32", "products in tf32"]
    given = json.dumps({"matmul_precision": "tf32", "ranks": 1})
    rows = repeats(1, [8.0]) + repeats(1, [4.0], precision="tf32", key="tf32", given=given)
    bases = [point.base for point in summarise(rows, "strong", {})]
    assert bases == ["gemm allreduce float32 1x1", "gemm allreduce tf32 1x1"]


def test_tables_show_what_varies_and_what_it_does_to_the_accuracy() -> None:
    def table(score: float, **others: Any) -> list[str]:
        rows = [
            r for rate, s in ((0.1, 0.5), (0.2, score))
            for r in repeats(1, [8.0], setting=f"epochs 3, learning_rate {rate}",
                             validation_accuracy=s, **others)
        ]  # fmt: skip
        return summary_table(summarise(rows, "sweep", {})).splitlines()

    head, _, second = table(0.9125)
    assert "threads  learning_rate  validation accuracy (%)  time/epoch" in head
    assert re.search(r"1 +0\.2 +91\.25 +8", second)
    assert "epochs" not in head
    assert "accuracy" not in table(0.5)[0]  # nothing changes it
    assert "accuracy" not in table(0.9125, dataset="synthetic:9x9x9")[0]


@pytest.mark.parametrize(
    ("counts", "name"),
    [
        ((3, 5), "shortest to longest run"),
        ((6, 6), "95 % interval of the median"),
        ((3, 6), "95 % interval of the median, below 6 runs shortest to longest"),
    ],
)
def test_few_runs_have_no_95_percent_interval(counts: tuple[int, int], name: str) -> None:
    found = summarise([r for n in (1, 2) for r in repeats(n, [1.0] * counts[n - 1])], "strong", {})
    assert f"  {name}  " in summary_table(found).splitlines()[0]
    spans = interval(np.arange(5.0)) == (0, 4), interval(np.arange(6.0)) == (0, 5)
    assert spans == (True, False)


def test_models_under_one_name_are_machines_of_their_own() -> None:
    rows = [
        *repeats(1, [8.0], cpu_model="old"), *repeats(2, [4.0], cpu_model="new"),
        *repeats(4, [2.0], cpu_model="new", gpu_model="A"),
        *repeats(4, [1.0], cpu_model="new", gpu_model="B"),
    ]  # fmt: skip
    found = [row.machine for row in _separate_models(rows)]
    assert found == ["m, old", "m, new", "m, new, A", "m, new, B"]
    assert _separate_models(rows[:1]) == rows[:1]


def test_no_point_takes_the_place_of_a_base_that_failed() -> None:
    (base,) = repeats(1, [8.0], status="failed", rows=1000)
    _, two, four = summarise([base, *repeats(2, [4.0]), *repeats(4, [2.0])], "strong", {})
    assert (two.base, four.base) == ("", "")
    assert np.isnan(four.speedup)


def test_the_factors_make_the_efficiency_with_threads_rows_and_any_base() -> None:
    """Worked by hand: 2 ranks x 3 threads against 2 x 1, which is not ideal itself."""
    common = {"threads": 1, "useful_mean_s": 6.0, "useful_max_s": 7.0}
    base = row(2, 10.0, **common)
    more = row(2, 4.0, threads=3, useful_mean_s=2.5, useful_max_s=3.0)
    one, three = summarise([base, more], "strong", {})
    assert (one.product, one.load_balance) == (pytest.approx(1), pytest.approx(6 / 7))
    assert three.load_balance == pytest.approx(2.5 / 3.0)
    assert three.communication == pytest.approx(3.0 / 4.0)
    assert three.computation == pytest.approx((6.0 * 2) / (2.5 * 6))
    assert three.efficiency == pytest.approx(10.0 * 2 / (4.0 * 6))
    assert three.product == pytest.approx(three.efficiency)
    assert f"{three.product:.3g}" in factors_table([three]).splitlines()[1].split()[-1]
    slow = replace(base, useful_mean_s=9.0, useful_max_s=9.0)  # 9 * 2 / (2.5 * 6) is 1.2
    assert factors_table(summarise([slow, more], "strong", {})).endswith("base disturbed?")


def test_computation_counts_the_time_of_a_row_in_a_weak_study() -> None:
    small = row(1, 2.0, useful_mean_s=1.0, useful_max_s=1.0)
    large = row(2, 3.0, rows=2000, batch_size=200, useful_mean_s=1.25, useful_max_s=1.5)
    _, two = summarise([small, large], "weak", {})
    assert two.computation == pytest.approx(1.0 / 1.25)
    assert two.efficiency == pytest.approx(2 / 3)
    assert two.product == pytest.approx(two.efficiency)


def test_weak_series_count_from_their_own_base() -> None:
    rows = [
        row(ranks, seconds, rows=ranks * share, setting=f"rows_per_rank {share}")
        for share, times in ((100, (1.0, 1.25)), (200, (2.0, 4.0)))
        for ranks, seconds in zip((1, 2), times, strict=True)
    ]
    assert [p.efficiency for p in summarise(rows, "weak", {})] == [1, 0.8, 1, 0.5]


def test_the_interval_is_that_of_95_percent() -> None:
    """Of few values there is none; of many, about what theory gives for a median."""
    assert np.isnan(interval(np.array([1.0, 2.0]))).all()
    assert interval(np.array([5.0] * 7)) == (5, 5)
    values = np.arange(1.0, 100.0)
    low, high = interval(values)
    # The distribution of a sample median of 99: about 50 +- 1.96 * 100 / (2 sqrt(99)).
    assert low == pytest.approx(50 - 1.96 * 100 / (2 * 99**0.5), abs=1.5)
    assert high == pytest.approx(50 + 1.96 * 100 / (2 * 99**0.5), abs=1.5)
    assert interval(values) == (low, high)
