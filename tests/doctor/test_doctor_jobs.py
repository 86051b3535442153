"""The doctor's findings about the ranks of a job, from facts."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from hpcpgd.doctor import allreduce_check, core_binding, launcher_check, slurm_job, variables
from hpcpgd.doctor.finding import (
    OK,
    PROBLEM,
    WARNING,
    Place,
    decode,
    encode,
    merged,
    ok,
    problem,
    warning,
)
from hpcpgd.doctor.report import Report
from tests.helpers.findings import only


def places(*sizes: int) -> list[Place]:
    """Ranks on nodes n1, n2 and so on."""
    return [Place(f"n{n}", i) for n, size in enumerate(sizes, 1) for i in range(size)]


# Findings of many ranks


def test_equal_findings_of_all_ranks_are_one_line() -> None:
    own = [ok("threads", "one"), warning("x", "bad", "mend it")]
    expected = ["ok       threads: one", "warning  x: bad -> mend it"]
    assert merged([own] * 4, places(2, 2)) == expected


def test_findings_of_some_ranks_name_them() -> None:
    good, bad = [ok("x", "fine")], [problem("x", "bad", "mend it", 69)]
    lines = merged([good, good, bad, bad, good, bad], places(2, 3, 1))
    assert lines == [
        "ok       x, ranks 0-1,4 on n1, n2: fine",
        "problem  x, ranks 2-3,5 on n2, n3: bad -> mend it",
    ]


def test_findings_of_nodes_name_these() -> None:
    lines = merged([[ok("x", "5")], [], [ok("x", "6")], []], places(2, 2))
    assert lines == ["ok       x, on n1, n2, seen by rank 0: 5"]
    lines = merged([[ok("x", "5")], [], [warning("x", "0", "mend it")], []], places(2, 2))
    assert lines == ["ok       x, on n1: 5", "warning  x, on n2: 0 -> mend it"]
    lines = merged([[], [], [warning("x", "0", "mend it")], []], places(2, 2))
    assert lines == ["warning  x, on n2: 0 -> mend it"]


def test_findings_survive_their_way_to_the_first_rank() -> None:
    found = [problem("folder", "caf\udce9\nof two lines", "mend it", 74), ok("x", "")]
    assert decode(encode(found)) == found
    assert "\n" not in found[0].line()


def test_the_first_problem_gives_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(speaks=True)
    report.add(ok("a", "fine"), problem("b", "bad", "mend it", 78))
    report.add(problem("c", "bad", "mend it", 74), warning("d", "slow", "mend it"))
    report.verdict()
    assert report.code == 78
    assert capsys.readouterr().out.endswith(
        "verdict: 2 problems and 1 warning, 1 ok in 0.0 s, exit code 78\n"
    )
    silent = Report(speaks=False)
    silent.add(problem("b", "bad", "mend it", 78))
    assert capsys.readouterr().out == ""


# Cores and threads


def rank(*own: int, share: float, available: int = 8, machine: str = "a") -> core_binding.RankCores:
    return core_binding.RankCores(machine, own, available, float("inf"), share)


def test_four_ranks_on_core_0_of_8() -> None:
    found = only(core_binding.judge([rank(0, share=0.25)] * 4, places(4)))
    assert found.level == WARNING
    assert "ranks 0-3 on n1 may run on core 0 alone, with 7 other cores" in found.seen
    assert "-bind-to none" in found.cure


def test_more_ranks_than_cores() -> None:
    found = only(core_binding.judge([rank(0, 1, share=2 / 7, available=2)] * 7, places(7)))
    assert (found.level, "ranks 0-6 on n1 share 2 cores" in found.seen) == (WARNING, True)


def test_the_limit_of_a_container() -> None:
    seen = [replace(rank(0, 1, 2, 3, share=0.75, available=4), quota=1.5)] * 2
    found = only(core_binding.judge(seen, places(2)))
    assert "1.5 cores" in found.seen
    assert "--cpus" in found.cure


def test_only_the_node_with_trouble_is_named() -> None:
    good = [rank(i, share=1.0, available=2) for i in range(2)]
    bad = [rank(0, share=0.5, available=2, machine="b")] * 2
    found = only(core_binding.judge([*good, *bad], places(2, 2)))
    assert "ranks 2-3 on n2 may run on core 0 alone" in found.seen


def test_bound_ranks_beside_idle_cores() -> None:
    found = only(core_binding.judge([rank(0, share=1.0), rank(1, share=1.0)], places(2)))
    assert "ranks 0-1 on n1 may run on 2 cores alone, with 6 other cores" in found.seen


def test_the_rank_with_the_fewest_cores_decides() -> None:
    seen = [rank(0, share=1.0, available=4), rank(1, 2, 3, share=3.0, available=4)]
    assert core_binding.threads(seen) == 1
    found = only(core_binding.judge(seen, places(2)))
    assert "rank 0 on n1 can have 1 of the 3 threads" in found.seen


def test_cores_for_everyone() -> None:
    seen = [rank(0, 1, share=2.0, available=4), rank(2, 3, share=2.0, available=4)]
    assert only(core_binding.judge(seen, places(2))) == ok(
        "cores", "4 cores for 2 ranks, each can have 2 threads"
    )


def test_the_cores_of_the_job_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(core_binding, "cores_of", lambda cpus: cpus)
    monkeypatch.setattr(core_binding, "limits", lambda name: [["0-3,8"], ["0-31"]])
    assert core_binding.available({}) == 5
    assert core_binding.available({"SLURM_CPUS_ON_NODE": "4"}) == 4


@pytest.mark.parametrize(
    ("environ", "threads", "level"),
    [
        ({}, 4, OK),
        ({"OMP_NUM_THREADS": "2"}, 2, OK),
        ({"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}, 2, WARNING),
        ({"OPENBLAS_NUM_THREADS": "8"}, 1, WARNING),
    ],
)
def test_ignored_variables(environ: dict[str, str], threads: int, level: str) -> None:
    found = only(variables.judge(environ, threads))
    assert found.level == level
    assert all(f"{name}={value}" in found.seen for name, value in environ.items())
    assert ("ignored" in found.seen) == bool(environ)


def test_variables_that_spoil_the_compiler() -> None:
    harmless = {"NUMBA_OPT": "3", "NUMBA_DISABLE_JIT": "0", "NUMBA_BOUNDSCHECK": "0"}
    assert len(variables.judge(harmless, 1)) == 1
    found = variables.judge({"NUMBA_DISABLE_JIT": "1", "NUMBA_OPT": "0"}, 1)
    expected = [(PROBLEM, "unset NUMBA_DISABLE_JIT"), (WARNING, "unset NUMBA_OPT")]
    assert [(one.level, one.cure) for one in found[1:]] == expected


# SLURM, the launcher, sums


def job(**changes: object) -> slurm_job.Job:
    return replace(slurm_job.Job(tasks=4, in_step=True), **changes)  # type: ignore[arg-type]  # of any field


@pytest.mark.parametrize(
    ("seen", "ranks", "says"),
    [
        (job(in_step=False), 1, "plain python in a job of 4 tasks is one rank"),
        (job(), 3, "3 ranks in a job of 4 tasks"),
        (job(), 8, "8 ranks in a job of 4 tasks"),
        (job(cpus_per_task=4), 4, "srun is not told"),
        (job(seconds_left=100.0), 4, "100 s are left"),
    ],
)
def test_a_slurm_job_that_does_not_fit(seen: slurm_job.Job, ranks: int, says: str) -> None:
    found = only(slurm_job.judge(seen, ranks, 2, "MPICH"))
    assert found.level == WARNING
    assert says in found.seen


@pytest.mark.parametrize(("library", "interface"), [("MPICH", "pmi2"), ("Open MPI", "pmix")])
def test_the_srun_that_fits_the_library(library: str, interface: str) -> None:
    found = only(slurm_job.judge(job(in_step=False), 1, 1, f"{library} v5"))
    assert f"srun --mpi={interface} python -m hpcpgd.doctor" in found.cure
    within_step = only(slurm_job.judge(job(in_step=False, shell=True), 1, 1, library))
    assert f"srun --overlap --ntasks=4 --mpi={interface} python" in within_step.cure


def test_a_slurm_job_that_fits() -> None:
    told = job(cpus_per_task=4, passed_on=4, seconds_left=3900.0, requeue=False)
    found = only(slurm_job.judge(told, 4, 2, "MPICH"))
    assert found.level == OK
    assert "1 h 05 min left" in found.seen
    assert "--requeue" in found.seen
    assert only(slurm_job.judge(job(cpus_per_task=2), 4, 2, "MPICH")).level == OK  # it has them
    assert only(slurm_job.judge(job(tasks=0), 8, 2, "MPICH")).level == OK  # salloc --nodes=2
    assert slurm_job.judge(None, 4, 2, "MPICH") == []


def test_what_slurm_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"EndTime": "2001-01-01T00:00:00", "TimeLimit": "01:00:00", "Requeue": "0"}
    monkeypatch.setattr(slurm_job, "answer_of", lambda *_: " ".join(map("=".join, told.items())))
    environ = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "2"}
    seen = slurm_job.observe(environ)
    assert seen is not None
    assert (seen.tasks, seen.in_step, seen.cpus_per_task, seen.passed_on) == (4, False, 2, 0)
    assert (seen.requeue, (seen.seconds_left or 0.0) < 0) == (False, True)
    for name, text in (("EndTime", "NONE"), ("TimeLimit", "UNLIMITED")):
        told[name] = text
        unlimited = slurm_job.observe(environ)
        assert (unlimited is not None and unlimited.seconds_left) is None
    assert slurm_job.observe({}) is None


def test_launchers() -> None:
    alone = only(launcher_check.judge("MPICH", 1, 1, {"PMI_SIZE": "4"}))
    assert (alone.level, alone.code) == (PROBLEM, 78)
    assert "srun --mpi=pmi2" in alone.cure
    assert only(launcher_check.judge("MPICH", 4, 1, {"PMI_SIZE": "4"})).level == OK


@pytest.mark.parametrize(
    ("sizes", "trouble", "says"),
    [
        (["1", "1"], "", "each alone"),
        ([], "it ended with 1: not as root", "not as root"),
        (["2", "2"], "", "see each other"),
    ],
)
def test_the_mpiexec_of_this_machine(sizes: list[str], trouble: str, says: str) -> None:
    found = launcher_check.judge_pair("/bin/mpiexec", sizes, trouble)
    assert (found.level == OK) == (sizes == ["2", "2"])
    assert says in found.seen


def test_a_machine_without_mpiexec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_check, "mpiexec_here", lambda: None)
    assert "none beside Python" in only(launcher_check.try_pair()).seen


def sums(**changes: object) -> allreduce_check.Sums:
    good = allreduce_check.Sums(4, 1, 1e-5, 1e-3, right=True, crowded=False)
    return replace(good, **changes)  # type: ignore[arg-type]  # of any field


@pytest.mark.parametrize(
    ("seen", "level", "cure"),
    [
        (sums(), OK, ""),
        (sums(crowded=True), OK, ""),
        (sums(crowded=True, small=5e-3), WARNING, "one rank a core"),
        (sums(small=5e-3), WARNING, "shared memory"),
        (sums(nodes=2, large=0.04), WARNING, "Ethernet"),
        (sums(nodes=2, large=0.04, crowded=True), WARNING, "one rank a core"),
        (sums(right=False), PROBLEM, "another transport"),
    ],
)
def test_sums_over_the_ranks(seen: allreduce_check.Sums, level: str, cure: str) -> None:
    found = only(allreduce_check.judge(seen))
    assert found.level == level
    assert cure in found.cure
    assert "4 ranks on" in found.seen
    busy = only(allreduce_check.judge(seen, ", not judged"))
    assert (busy.level, busy.code) == ((OK, 0) if seen.right else (PROBLEM, 69))
