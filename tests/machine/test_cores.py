"""Cores that a rank may use: control groups, affinity, fair shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcpgd.environment import cgroup, memory_limits
from hpcpgd.environment.cgroup import limits
from hpcpgd.machine.cores import cache_bytes, cores_of, fair_threads, hardware_threads, quota


def test_quota_is_the_tightest_of_all_groups(tmp_path: Path) -> None:
    group = tmp_path / "job" / "step"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("max 100000\n")
    (tmp_path / "job" / "cpu.max").write_text("250000 100000\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/job/step\n")
    assert quota(membership, tmp_path) == 2.5


def test_memory_that_a_job_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = memory_limits.physical_memory()
    (tmp_path / "memory.max").write_text("4096000\n")
    membership = tmp_path / "cgroup"
    membership.write_text("0::/\n")
    found = limits("memory.max", membership, tmp_path)
    assert found[0] == ["4096000"]
    monkeypatch.setattr(cgroup, "limits", lambda name: [["max"], *found])
    assert memory_limits.physical_memory() == 4096000
    monkeypatch.setattr(cgroup, "limits", lambda name: [["max"]])
    assert memory_limits.physical_memory() >= there


def old_groups(root: Path, *controllers: str) -> Path:
    """Make groups of version 1, each with a job's below the root; return the membership's file."""
    lines = ["1:name=systemd:/user", "0::/"]
    for number, names in enumerate(controllers, 2):
        for folder in (root / names, root / names / "job"):
            folder.mkdir()
        lines.append(f"{number}:{names}:/job")
    membership = root / "cgroup"
    membership.write_text("\n".join(lines) + "\n")
    return membership


def test_groups_of_version_1(tmp_path: Path) -> None:
    membership = old_groups(tmp_path, "cpu,cpuacct", "memory", "cpuset")
    for folder, quota_us, limit in (("", "-1", 2**63 - 4096), ("job", "150000", 4096000)):
        cpu, memory, cpuset = (
            tmp_path / name / folder for name in ("cpu,cpuacct", "memory", "cpuset")
        )
        (cpu / "cpu.cfs_quota_us").write_text(f"{quota_us}\n")
        (cpu / "cpu.cfs_period_us").write_text("100000\n")
        (memory / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (memory / "memory.usage_in_bytes").write_text("3000\n")
        (memory / "memory.stat").write_text("cache 1\ntotal_cache 700\ntotal_shmem 200\n")
        (cpuset / "cpuset.effective_cpus").write_text("0-3,8\n")
    assert quota(membership, tmp_path) == 1.5

    def told(name: str) -> list[list[str]]:
        return limits(name, membership, tmp_path)

    assert told("memory.max") == [["4096000"], ["max"]]
    assert told("memory.current") == [["3000"]] * 2
    assert told("memory.stat") == [["file", "700", "shmem", "200"]] * 2
    assert told("cpuset.cpus.effective") == [["0-3,8"]] * 2


def test_a_container_sees_its_own_group_and_is_told_of_another_path(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("2:memory:/docker/0123\n1:cpu:/docker/0123\n")
    for name in ("memory", "cpu"):
        (tmp_path / name).mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("4096000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("250000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert limits("memory.max", membership, tmp_path) == [["4096000"]]
    assert quota(membership, tmp_path) == 2.5


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


def test_last_level_caches_count_once(tmp_path: Path) -> None:
    """Two caches of 32 MiB, each of two processors, behind caches of their own."""
    assert cache_bytes(tmp_path) == 0
    for cpu, users in enumerate(("0,2", "1,3", "0,2", "1,3")):
        for index, (level, size) in enumerate(((1, "32K"), (1, "48K"), (3, "32768K"))):
            folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{index}"
            folder.mkdir(parents=True)
            (folder / "level").write_text(f"{level}\n")
            (folder / "shared_cpu_list").write_text(f"{users if level == 3 else cpu}\n")
            (folder / "size").write_text(f"{size}\n")
    assert cache_bytes(tmp_path) == 64 * 2**20
    (tmp_path / "cpu3" / "cache" / "index2" / "size").unlink()
    assert cache_bytes(tmp_path) == 0


def test_hardware_threads_of_a_core_count_once(tmp_path: Path) -> None:
    """Four cores of two threads, numbered as Linux does; of the last nothing is known."""
    for cpu in range(7):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    assert cores_of(list(range(7)), tmp_path) == [0, 1, 2, 3]
    assert cores_of([5, 6, 7], tmp_path) == [1, 2, 7]
    assert hardware_threads([1, 4, 7], tmp_path) == [0, 1, 4, 5, 7]
    (tmp_path / "cpu3" / "topology" / "thread_siblings_list").write_text("2-3\n")
    assert cores_of([3], tmp_path) == [2]
