"""Cores that a rank may use: control groups, affinity, fair shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcpgd.cgroup import limits
from hpcpgd.cores import cores_of, fair_threads, quota
from hpcpgd.data import guard


def test_quota_is_the_tightest_of_all_groups(tmp_path: Path) -> None:
    group = tmp_path / "job" / "step"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("max 100000\n")
    (tmp_path / "job" / "cpu.max").write_text("250000 100000\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/job/step\n")
    assert quota(membership, tmp_path) == 2.5


def test_memory_that_a_job_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = guard.physical_memory()
    (tmp_path / "memory.max").write_text("4096000\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/\n")
    found = limits("memory.max", membership, tmp_path)
    assert found[0] == ["4096000"]
    monkeypatch.setattr(guard, "limits", lambda name: [["max"], *found])
    assert guard.physical_memory() == 4096000
    monkeypatch.setattr(guard, "limits", lambda name: [["max"]])
    assert guard.physical_memory() >= there


def test_no_quota(tmp_path: Path) -> None:
    assert quota(tmp_path / "missing", tmp_path) == float("inf")
    membership = tmp_path / "cgroup"
    membership.write_text("4:cpu:/old\n")
    assert quota(membership, tmp_path) == float("inf")


@pytest.mark.parametrize(
    ("share", "threads"), [(0.06, 1), (1.0, 1), (1.99, 1), (2.0, 2), (4 * (1 / 3) * 3, 4)]
)
def test_whole_cores_at_least_one(share: float, threads: int) -> None:
    assert fair_threads(share) == threads


def test_hardware_threads_of_a_core_count_once(tmp_path: Path) -> None:
    """Four cores of two threads, numbered as Linux does; of the last nothing is known."""
    for cpu in range(7):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    assert cores_of(list(range(7)), tmp_path) == [0, 1, 2, 3]
    assert cores_of([5, 6, 7], tmp_path) == [1, 2, 7]
    (tmp_path / "cpu3" / "topology" / "thread_siblings_list").write_text("2-3\n")
    assert cores_of([3], tmp_path) == [2]
