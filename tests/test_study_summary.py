"""Medians, intervals, speedups and factors, worked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpcpgd.study.rows import Row
from hpcpgd.study.summary import interval, summarise
from hpcpgd.study.tables import factors_table, failures, remarks, summary_table


def row(ranks: int, seconds: float, **others: Any) -> Row:
    made = Row(
        "m", "", "gemm", "allreduce", "net-1h", "digits", "float32", "float32", 1000, 100,
        ranks, 1, 1, 0, 1, epochs=2, tpe_seconds=seconds, gflop_per_epoch=8.0,
        gflops=8.0 / seconds, data_s=0.0, compute_s=seconds, reduce_s=0.0, wait_s=0.0,
        update_s=0.0, useful_mean_s=seconds, useful_max_s=seconds,
    )  # fmt: skip
    return replace(made, **others)


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


def test_a_weak_study_compares_times() -> None:
    rows = repeats(1, [2.0]) + repeats(4, [2.5], rows=4000, batch_size=400)
    _, four = summarise(rows, "weak", {})
    assert (four.efficiency, four.speedup) == (pytest.approx(0.8), pytest.approx(3.2))


def test_the_base_can_be_another_backend() -> None:
    rows = repeats(1, [10.0], backend="loops") + repeats(1, [1.0]) + repeats(2, [0.5])
    found = summarise(rows, "sweep", {"backend": "loops", "ranks": 1})
    assert [p.speedup for p in found] == [1, 10, 20]
    assert {p.base for p in found} == {"loops allreduce 1x1"}


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


def test_factors_multiply_to_the_efficiency() -> None:
    """4 ranks: useful 1.0, 1.2, 0.8, 1.0 s of 1.6 s; one rank: 4 s, all of it useful."""
    rows = repeats(1, [4.0]) + repeats(4, [1.6], useful_mean_s=1.0, useful_max_s=1.2)
    one, four = summarise(rows, "strong", {})
    assert (one.load_balance, one.communication, one.computation) == (1, 1, 1)
    assert four.load_balance == pytest.approx(1 / 1.2)
    assert four.communication == pytest.approx(1.2 / 1.6)
    assert four.computation == pytest.approx(1.0)
    product = four.load_balance * four.communication * four.computation
    assert product == pytest.approx(four.efficiency)
    assert "0.625" in factors_table([four])


def test_failed_runs_count_for_nothing_and_are_named() -> None:
    bad = row(2, float("nan"), repeat=2, status="timed out", error="exit code -1: no end after 3 s")
    rows = [*repeats(1, [8.0]), row(2, 4.0), bad]
    _, two = summarise(rows, "strong", {})
    assert (two.repeats, two.wanted, two.speedup) == (1, 2, 2)
    assert "1 of 2 runs did not end well" in remarks(two)
    assert failures(rows) == (
        "timed out: gemm allreduce net-1h batch 100, 2 ranks, repeat 2: "
        "exit code -1: no end after 3 s"
    )


def test_oversubscribed_points_are_marked() -> None:
    found = summarise(repeats(1, [8.0]) + repeats(8, [0.5], oversubscribed=True), "strong", {})
    assert found[1].oversubscribed
    assert "no scaling" in summary_table(found)
    assert "superlinear" not in summary_table(found)


def test_intervals() -> None:
    """Of few values none; of many, about what theory gives for a median."""
    assert np.isnan(interval(np.array([1.0, 2.0]))).all()
    low, high = interval(np.array([5.0] * 7))
    assert (low, high) == (5, 5)
    sample = np.random.default_rng(0).normal(10, 1, 200)
    low, high = interval(sample)
    assert low < np.median(sample) < high
    # Standard error of a normal sample's median: sqrt(pi / 2 / n) = 0.089.
    assert high - low == pytest.approx(2 * 1.96 * 0.089, rel=0.3)
    assert interval(sample) == (low, high)
