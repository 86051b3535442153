"""The paper's own study: its rows, its figures, its claims."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcpgd.data import RawData, Split, load
from hpcpgd.study.paper import tasks as tasks_of_the_paper
from hpcpgd.study.paper.claims import judge
from hpcpgd.study.paper.contest import LibraryTask
from hpcpgd.study.paper.measured_rows import Results
from hpcpgd.study.paper.paper_rows import BATCHES, FULL, QUICK, Plan, Size
from hpcpgd.study.paper.paper_table import ROW, ROWS
from hpcpgd.study.paper.paper_table import rows as table_rows
from hpcpgd.study.paper.problem import Problems
from hpcpgd.study.paper.tasks import Tasks, absent_rows, make_tasks
from hpcpgd.study.paper.verdict import DOES_NOT, HOLDS, NOT_RUN
from hpcpgd.study.rows import Row
from hpcpgd.study.study_folder import Failure, StudyFolder
from tests.helpers.support import MINI

ABSENT = Failure("no device", 0, "none")


def row(name: str, network: str, batch: int, seconds: float, **others: Any) -> Row:
    found = ROW[name]
    made = Row(
        "m", name, f"{network}-{batch}", "", found.backend, "allreduce", network, "mnist",
        "float32", "float32", 2048, batch, 1, 2 if found.parallel else 1, 1, 0, "{}", 1,
    )  # fmt: skip
    return replace(made, epochs=1, tpe_seconds=seconds, gflops=100 / seconds, **others)


def results(times: dict[str, dict[int, float]], batches: tuple[int, ...] = ()) -> Results:
    """Return results with the same times on both networks."""
    rows = [
        row(name, network, batch, seconds)
        for name, by_batch in times.items()
        for network in ("net-1h", "net-2h")
        for batch, seconds in by_batch.items()
    ]
    return Results(rows, batches or tuple(sorted({row.batch_size for row in rows})))


def verdicts(times: dict[str, dict[int, float]]) -> dict[str, str]:
    return {v.letter: v.verdict for v in judge(results(times), 2)}


def raw(rows: int) -> RawData:
    return replace(
        load(str(MINI), seed=0), train=Split(np.zeros((rows, 784)), np.arange(rows, dtype=np.int32))
    )


def plan(size: Size, rows: int = 60000, cores: int = 2) -> Plan:
    return Plan("mnist", raw(rows), size, cores, ROWS)


def tasks(planned: Plan, absent: dict[str, Failure], folder: Path) -> Tasks:
    problems = Problems(StudyFolder(folder), raw(60000))
    return make_tasks(planned.points(), absent, "python", 2, problems)


def test_every_row_network_and_batch_once() -> None:
    assert BATCHES == (32, 64, 128, 256, 512, 1024)
    points = plan(QUICK).points()
    names = {(p.row.name, p.point.config.hidden, p.point.config.batch_size) for p in points}
    odd = 2 * len(BATCHES)  # widths for the GPU alone
    assert len(points) == len(names) == len(ROWS) * 2 * len(BATCHES) + odd
    threads = {p.row.name: p.point.config.threads for p in points}
    assert (threads["Naive Serial"], threads["Multicore Parallel"]) == (1, 2)


def test_the_full_study_varies_rows_and_widths_too() -> None:
    found = [p.point.config for p in plan(FULL).points() if p.row.name == "gemm serial"]
    assert len(found) == len(set(map(repr, found)))
    at_128 = [c for c in found if c.batch_size == 128]
    for hidden in ((1024,), (1024, 1024)):
        rows = {c.train_rows for c in at_128 if c.hidden == hidden}
        assert rows == {5000, 10000, 20000, 30000, 40000, "all"}
    widths = {c.hidden for c in at_128}
    assert widths == {(w,) * k for w in (256, 512, 1024, 2048, 4096) for k in (1, 2)}
    few = [p.point.config.train_rows for p in plan(FULL, rows=12000).points()]
    assert {*few} == {5000, "all"}


def test_long_epochs_are_timed_in_part() -> None:
    limited = [p for p in plan(FULL).points() if p.point.config.max_steps != "none"]
    assert {p.row.backend for p in limited} == {"loops", "gemv"}
    assert all(p.point.config.epochs == 1 for p in limited)
    assert any(p.point.config.hidden == (4096, 4096) for p in limited)


def test_libraries_have_one_process_a_network_after_our_own(tmp_path: Path) -> None:
    absent = {r.name: ABSENT for r in ROWS if r.on_gpu}
    jobs = tasks(plan(QUICK), absent, tmp_path).jobs(2)
    names = [isinstance(job.task, LibraryTask) for job in jobs]
    assert names == 2 * ([False] * 6 * 2 * 6 + [True] * 6 * 2)
    assert not any("cuda" in job.task.key for job in jobs)
    library = jobs[-1].task
    assert isinstance(library, LibraryTask)
    assert [p.config.batch_size for p in library.points] == list(BATCHES)
    everything = tasks(plan(QUICK), {}, tmp_path).jobs(1)
    assert len(everything) == 8 * 2 * 6 + 2 * 6 + 8 * 2
    threads = {job.task.row.name: job.task.threads for job in everything
               if isinstance(job.task, LibraryTask)}  # fmt: skip
    assert (threads["PyTorch serial"], threads["PyTorch GPU"]) == (1, 2)
    assert len({job.task.key for job in everything}) == len(everything)


def test_only_gpu(tmp_path: Path) -> None:
    rows = table_rows(only_gpu=True)
    assert [r.name for r in rows] == ["GPU Parallel", "cuda", "Keras/JAX GPU", "PyTorch GPU"]
    planned = Plan("mnist", raw(60000), QUICK, 2, rows)
    jobs = tasks(planned, {}, tmp_path).jobs(1)
    library = jobs[-1].task
    assert isinstance(library, LibraryTask)
    assert {p.config.backend for p in library.points} == {"cuda"}  # whose losses it must find


def test_one_core_has_serial_and_parallel_rows_of_one_process(tmp_path: Path) -> None:
    rows = tuple(r for r in ROWS if not (r.foreign or r.on_gpu))
    planned = Plan("mnist", raw(60000), QUICK, 1, rows)
    assert len(tasks(planned, {}, tmp_path).jobs(1)) == 3 * 2 * 6
    one = row("Naive Serial", "net-1h", 32, 2.0)
    both = [one, replace(one, paper_row="Multicore Parallel")]
    assert Results(both, BATCHES).speedups(ROW["Multicore Parallel"], "net-1h") == {32: 1.0}


def test_speedups_count_from_the_paper_s_bases() -> None:
    found = results({"Naive Serial": {32: 8.0, 64: 8.0}, "Multicore Parallel": {32: 5.0, 64: 4.0}})
    assert found.speedups(ROW["Multicore Parallel"], "net-1h") == {32: 1.6, 64: 2.0}
    assert found.speedups(ROW["Fast Parallel"], "net-1h") == {}


def test_claims_that_hold() -> None:
    found = verdicts({
        "Naive Serial": {32: 8.0, 1024: 8.1},
        "Multicore Parallel": {32: 6.0, 1024: 4.1},
        "Fast Serial": {32: 0.8, 1024: 0.82},
        "Fast Parallel": {32: 0.6, 1024: 0.6},
        "GPU Parallel": {32: 0.3, 1024: 0.1},
    })  # fmt: skip
    assert found == {**dict.fromkeys("abcde", HOLDS), **dict.fromkeys("fghij", NOT_RUN)}


def test_a_part_of_a_claim_cannot_make_it_hold() -> None:
    """Without a GPU, without libraries, or without one batch size."""
    times = {
        "Naive Serial": {32: 8.0, 1024: 8.1}, "Multicore Parallel": {32: 6.0, 1024: 4.1},
        "GPU Parallel": {1024: 0.1},
    }  # fmt: skip
    found = {v.letter: v for v in judge(results(times), 2)}
    assert (found["b"].verdict, found["c"].verdict) == (NOT_RUN, NOT_RUN)
    assert "GPU not run here" in found["b"].numbers
    libraries = {**LIBRARIES, "PyTorch parallel": {1024: 0.4}, "Multicore Parallel": {1024: 4.0}}
    said = verdicts({**libraries, "Fast Parallel": {1024: 0.6}})
    assert (said["f"], said["g"]) == (HOLDS, HOLDS)
    del libraries["PyTorch GPU"]  # beside it ours on a GPU is no measure
    assert verdicts(libraries)["g"] == NOT_RUN


def test_claims_that_do_not() -> None:
    found = verdicts({
        "Naive Serial": {32: 8.0, 1024: 4.0},
        "Multicore Parallel": {32: 40.0, 1024: 40.0},
        "Fast Serial": {32: 8.0, 1024: 8.0},
        "Fast Parallel": {32: 6.0, 1024: 3.0},
        "GPU Parallel": {32: 50.0, 1024: 1.0},
    })  # fmt: skip
    letters = {letter for letter, verdict in found.items() if verdict == DOES_NOT}
    assert letters == {"a", "b", "c", "d", "e", "f", "i"}


def test_claims_without_a_gpu_are_not_run() -> None:
    found = judge(results({"Naive Serial": {32: 8.0}, "Multicore Parallel": {32: 4.0}}), 2)
    said = {v.letter: v for v in found}
    assert said["c"].verdict == NOT_RUN
    assert said["e"].verdict == NOT_RUN  # half of it
    numbers = said["e"].numbers
    assert "x2.00 with 2 cores, efficiency 1.00 (the paper's 0.31); GPU not run" in numbers


LIBRARIES = {
    "Naive Serial": {32: 8.0, 128: 8.0, 1024: 8.0},
    "Fast Serial": {32: 0.8, 128: 0.8, 1024: 0.8},
    "GPU Parallel": {32: 0.3, 128: 0.2, 1024: 0.15},
    "gemm parallel": {1024: 0.2},
    "PyTorch serial": {32: 0.7, 128: 0.7, 1024: 0.6},
    "PyTorch GPU": {32: 0.8, 128: 0.4, 1024: 0.1},
}


def test_claims_about_libraries() -> None:
    found = {v.letter: v for v in judge(results(LIBRARIES), 2)}
    assert {k: found[k].verdict for k in "ghi"} == dict.fromkeys("ghi", HOLDS)
    assert "PyTorch GPU 0.1 s, GPU Parallel 0.15 s, gemm parallel 0.2 s" in found["g"].numbers
    assert "own 0.2 s, PyTorch GPU 0.4 s; speedup at batch 1024 over" in found["h"].numbers
    assert "that at 32: own x2.0, PyTorch GPU x6.9" in found["h"].numbers
    serial = {**LIBRARIES, "PyTorch serial": {32: 8.0, 128: 8.0, 1024: 1.6}}  # faster by itself
    assert verdicts(serial)["h"] == DOES_NOT
    slow = {**LIBRARIES, "PyTorch GPU": {32: 0.2, 128: 0.19, 1024: 0.18}}
    slow["PyTorch serial"] = {32: 0.1, 128: 0.1}
    found = {v.letter: v for v in judge(results(slow), 2)}
    assert {k: found[k].verdict for k in "ghi"} == dict.fromkeys("ghi", DOES_NOT)


def test_half_of_the_claim_about_speedups_can_break_it() -> None:
    found = judge(results({"Naive Serial": {32: 8.0}, "Multicore Parallel": {32: 16.0}}), 2)
    assert {v.letter: v.verdict for v in found}["e"] == DOES_NOT  # efficiency 0.25
    times = {"Naive Serial": {32: 8.0}, "Multicore Parallel": {32: 4.0}, "GPU Parallel": {32: 0.4}}
    assert verdicts(times)["e"] == DOES_NOT  # x20 on the GPU


@pytest.mark.parametrize(("last", "verdict"), [(1.5, HOLDS), (1.0, DOES_NOT)])
def test_the_claim_about_widths(last: float, verdict: str) -> None:
    rows = []
    for width, slower in ((1024, {32: 1.0, 1024: 1.0}), (1023, {32: 1.1, 1024: last})):
        network = "net-1h" if width == 1024 else str(width)
        for batch, factor in slower.items():
            rows.append(row("GPU Parallel", network, batch, 2.0 * factor))
    found = {v.letter: v for v in judge(Results(rows, BATCHES), 2)}
    assert found["j"].verdict == verdict
    assert f"width 1023 takes x1.10 (batch 32) to x{last:.2f} (batch 1024)" in found["j"].numbers


def test_a_gpu_without_cupy_is_not_called_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_of_the_paper, "has_driver", lambda: True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    found = absent_rows((ROW["cuda"],), "python")["cuda"]
    assert (found.status, "hpcpgd[gpu13]" in found.error) == ("not installed", True)
    monkeypatch.setattr(tasks_of_the_paper, "has_driver", lambda: False)
    found = absent_rows((ROW["cuda"],), "python")["cuda"]
    assert (found.status, found.error) == ("no device", "this machine has no NVIDIA driver")


def test_a_missing_interpreter_is_told(tmp_path: Path) -> None:
    found = absent_rows((ROW["PyTorch serial"],), str(tmp_path / "nothing"))
    assert found["PyTorch serial"].status == "not installed"
    assert "No such file" in found["PyTorch serial"].error
