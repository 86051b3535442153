"""Steps of a kit that fail, what a kit refuses, and its findings from facts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hpcpgd.doctor import cli
from hpcpgd.doctor.kit import allocation, kit_summary, run_results
from hpcpgd.doctor.kit.allocation import Allocation
from hpcpgd.doctor.kit.kit_steps import Trial
from hpcpgd.doctor.kit.outcome import FAILED, LEFT_OUT, NO_TIME, OK, Outcome, attempt
from hpcpgd.doctor.kit.shared_folder import Share
from hpcpgd.errors import OutputError, UnavailableError
from hpcpgd.study.launchers import Launcher, placement
from hpcpgd.study.rows import Row
from hpcpgd.study.summary import summarise
from tests.helpers.support import inside


def trial(folder: Path, *launcher: str, nodes: int = 1) -> Trial:
    found = Allocation(Launcher(launcher, False), nodes, 2, 1, "")
    return Trial(found, folder, folder, time.monotonic() + 60)


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcpgd.doctor.kit.kit_steps.LIMIT", 0.5)
    said = "problem  Allreduce: this process was killed here -> mend it"
    outcome = trial(tmp_path, "sh", "-c", f"echo '{said}'; exec sleep 60").doctor(1)
    assert (outcome.status, outcome.line) == (FAILED, f"no end after 0.5 s; {said}")
    assert outcome.odd == (said,)


def test_a_point_that_has_failed_is_not_repeated(tmp_path: Path) -> None:
    failing = trial(tmp_path, "sh", "-c", "echo hpcpgd: error: so >&2; exit 3")
    outcome = failing.study()
    assert outcome.status == FAILED
    assert outcome.line.startswith("0 of 18 runs ended well; ")
    assert len(outcome.odd) == len([*failing.runs.path.rglob("*.failed.json")]) == 6
    assert all(line.endswith("-001: diverged: hpcpgd: error: so") for line in outcome.odd)


def test_a_study_of_a_job_that_may_be_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    words = ("sh", "-c", "echo srun: error: Invalid account >&2; exit 1")
    found = Allocation(Launcher(words, in_allocation=True), 1, 2, 1, "")
    outcome = replace(trial(tmp_path), allocation=found).study()
    assert outcome.status == FAILED
    assert "not made: srun: error: Invalid account; squeue says nothing of job 7" in outcome.line


def test_time_that_is_over_leaves_steps_out(tmp_path: Path) -> None:
    late = replace(trial(tmp_path, "false"), end=time.monotonic() + 1)
    names = [name for name, _ in late.steps()]
    assert names == ["doctor, 2 ranks on 1 node", "Allreduce, 2 ranks on 1 node", "scaling study"]
    for name, step in late.steps():
        outcome = attempt(name, step, late.end)
        assert (outcome.status, outcome.line, outcome.name) == (LEFT_OUT, NO_TIME, name)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OutputError("x.h5: cannot be written"), "x.h5: cannot be written"),
        (KeyError("a\nb"), "KeyError: 'a\\nb'"),
    ],
)
def test_whatever_a_step_raises_is_its_line(error: Exception, line: str) -> None:
    def step() -> NoReturn:
        raise error

    outcome = attempt("it", step, float("inf"))
    assert (outcome.status, outcome.line) == (FAILED, line)


def test_tables_are_kept_where_figures_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def report(path: Path, figures: Path | None) -> NoReturn:
        print("the tables")
        raise UnavailableError("matplotlib is not installed")

    monkeypatch.setattr(run_results, "report", report)
    found = run_results.Results(trial(tmp_path), Share(tmp_path, str), rows=[row()])
    assert found.draw() == Outcome(FAILED, "matplotlib is not installed")
    assert (tmp_path / "study.txt").read_text() == "the tables\n"


def test_without_any_run_the_results_are_left_out(tmp_path: Path) -> None:
    found = run_results.Results(trial(tmp_path), Share(tmp_path, str))
    assert [step().status for _, step in found.steps()] == [LEFT_OUT] * 4
    assert (found.tables(), [*tmp_path.iterdir()]) == ([], [])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--launcher", "srun"], 2, "go with --kit DIR only"),
        (["--with-names"], 2, "go with --kit DIR only"),
        (["--kit", "x", "--json"], 2, "do not go with --kit DIR"),
        (["--kit", "x", "--reference", "y"], 2, "do not go with --kit DIR"),
        (["--kit", "there"], 74, "there exists already"),
        (["--kit", "other"], 74, "other.tar.gz exists already"),
        (["--kit", "/"], 74, "/ exists already"),
        (["--kit", "missing/x"], 74, "No such file"),
        (["--kit", "x", "--launcher", "no-such-launcher"], 69, "was not found in PATH"),
    ],
)
def test_what_is_refused(words: list[str], code: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "other.tar.gz").touch()
    inside(tmp_path, cli.main, *words).one_line(code, says, out="")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.tar.gz", "there"]


def test_a_kit_is_not_started_by_mpiexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    done = inside(tmp_path, cli.main, "--kit", "x")
    assert (done.code, "without mpiexec or srun" in done.err) == (2, True)


# From facts


def row(**changes: Any) -> Row:
    point = Row(
        "cpu", "", "k", "", "gemm", "reproducible", "net-1h", "d", "float32", "float32",
        100, 10, 1, 1, 1, 1, "{}", 1,
    )  # fmt: skip
    return replace(point, **changes)


def test_bits_that_differ_are_told_with_what_differs() -> None:
    one, two = row(params_sha256="a" * 64), row(params_sha256="b" * 64, ranks=2, nodes=2)
    equal = replace(two, params_sha256="a" * 64)
    assert run_results.same_bits([one, one, equal]).line.startswith(
        "equal to the last bit: 3 runs, 1 rank on 1 node, 2 ranks on 2 nodes; params_sha256 aaaa"
    )
    found = run_results.same_bits([one, two])
    assert found.status == FAILED
    assert "aaaaaaaaaaaa: 1 rank on 1 node; bbbbbbbbbbbb: 2 ranks on 2 nodes" in found.line
    assert "several kinds of processor (x, y)" in run_results.same_bits(
        [replace(one, cpu_model="x"), replace(two, cpu_model="y")]
    ).line  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no run with reproducible"),
        ([row(params_sha256="a"), row(params_sha256="a")], "only runs of 1 rank"),
        ([row(params_sha256="a"), row(ranks=2, status="failed")], "only runs of 1 rank"),
        ([row(reduction="shared", params_sha256="a")], "no run with reproducible"),
    ],
)
def test_without_two_sizes_no_bits_are_called_equal(rows: list[Row], says: str) -> None:
    outcome = run_results.same_bits(rows)
    assert (outcome.status, says in outcome.line) == (LEFT_OUT, True)


def jobs_of(tasks: str, nodes: str = "4", **more: str) -> dict[str, str]:
    words = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": nodes, "SLURM_TASKS_PER_NODE": tasks}
    return words | more


@pytest.mark.parametrize(
    ("environ", "counts", "ranks", "threads"),
    [
        (jobs_of("4(x4)"), [1, 2, 4], [1, 4, 8, 16], 1),
        (jobs_of("4(x2),3", "3", SLURM_CPUS_PER_TASK="2"), [1, 2], [1, 3, 6], 2),
        (jobs_of("1(x8)", "8"), [1, 2, 4], [1, 2, 4], 1),
        (jobs_of("2", "1"), [1], [1, 2], 1),
    ],
)
def test_what_a_job_has(
    environ: dict[str, str], counts: list[int], ranks: list[int], threads: int
) -> None:
    found = allocation.find("sh", environ)
    assert (found.counts, found.ranks, found.threads) == (counts, ranks, threads)
    assert found.nodes_of(ranks[-1]) == counts[-1]
    placed = [placement(number, threads, environ) for number in ranks[-len(counts) :]]
    assert placed == [[f"--nodes={count}"] for count in counts]


@pytest.mark.parametrize(
    ("nodes", "says"),
    [(1, ["2 and 4 nodes: why"]), (2, ["4 nodes: why"]), (4, []), (8, ["8 nodes: a kit uses"])],
)
def test_nodes_that_are_missing_or_unused(nodes: int, says: list[str]) -> None:
    found = kit_summary.left_out([], Allocation(Launcher(("srun",), True), nodes, 2, 1, "why"))
    assert [line[: len(said)] for line, said in zip(found, says, strict=True)] == says


def test_the_same_advice_of_several_steps_stands_once() -> None:
    lines = ("warning  x: 5 MiB -> mend it", "warning  x: 6 MiB -> mend it", "warning  y: 1 -> go")
    one = Outcome(OK, "verdict", odd=lines[:1], name="a")
    bad = "problem  z: no -> pray"
    two = Outcome(FAILED, f"no end; {bad}", odd=(bad, *lines[1:]), name="b")
    assert kit_summary.wrong([one, two]) == [
        "a: warning x: 5 MiB -> mend it", "b: no end; problem z: no -> pray",
        "b: warning y: 1 -> go",
    ]  # fmt: skip


def test_where_scaling_looks_wrong() -> None:
    times = {"tpe_seconds": 1.0, "useful_mean_s": 0.9, "useful_max_s": 0.9}
    waits = {"tpe_seconds": 1.1, "useful_mean_s": 0.4, "useful_max_s": 0.4}
    base = row(key="1", given='{"ranks": 1}', **times)
    slow = row(key="2", given='{"ranks": 2}', ranks=2, **waits)
    crowded = row(key="4", given='{"ranks": 4}', ranks=4, nodes=2, oversubscribed=True, **times)
    found = summarise([base, slow, crowded], "strong", {})
    lines = run_results.odd_points(found, Allocation(Launcher(("srun",), True), 2, 2, 1, ""))
    assert lines == [
        "4 ranks have fewer cores than threads: their times are meaningless",
        "reproducible, 2 ranks on 1 node: efficiency 0.45; time goes into the Allreduce and into "
        "waiting for other ranks",
    ]
