"""The paper's own study: its rows, its figures, its claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from hpcpgd.study.claims import DOES_NOT, HOLDS, NOT_RUN, judge
from hpcpgd.study.paper import BATCHES, FULL, QUICK, ROWS, Results, jobs, paper_points
from hpcpgd.study.rows import Row
from tests.support import environment, python

MINI = Path(__file__).parent / "data" / "mnist-mini"


def row(name: str, network: str, batch: int, seconds: float) -> Row:
    backend = next(r.backend for r in ROWS if r.name == name)
    made = Row(
        "m", name, backend, "allreduce", network, "mnist", "float32", "float32", 2048, batch,
        1, 2 if "Parallel" in name else 1, 1, 0, 1,
    )  # fmt: skip
    return replace(made, epochs=1, tpe_seconds=seconds, gflops=100 / seconds)


def results(times: dict[str, dict[int, float]]) -> Results:
    """Return results with the same times on both networks."""
    return Results([
        row(name, network, batch, seconds)
        for name, by_batch in times.items()
        for network in ("net-1h", "net-2h")
        for batch, seconds in by_batch.items()
    ])  # fmt: skip


def verdicts(times: dict[str, dict[int, float]]) -> dict[str, str]:
    return {v.letter: v.verdict for v in judge(results(times), 2)}


def test_every_row_network_and_batch_once() -> None:
    points = paper_points("digits", FULL, 2)
    assert BATCHES == (32, 64, 128, 256, 512, 1024)
    assert len(points) == len(ROWS) * 2 * 6 == len({p.point.key for p in points})
    threads = {p.row.name: p.point.config.threads for p in points}
    assert (threads["Naive Serial"], threads["Multicore Parallel"]) == (1, 2)
    without = jobs(points, QUICK, devices=False)
    assert not any(job.point.config.backend.startswith("cuda") for job in without)
    assert len(without) == 6 * 12 * QUICK.repeats
    assert len(jobs(points, QUICK, devices=True)) == 8 * 12 * QUICK.repeats


def test_speedups_count_from_the_paper_s_bases() -> None:
    found = results({"Naive Serial": {32: 8.0, 64: 8.0}, "Multicore Parallel": {32: 5.0, 64: 4.0}})
    multicore = next(r for r in ROWS if r.name == "Multicore Parallel")
    assert found.speedups(multicore, "net-1h") == {32: 1.6, 64: 2.0}
    fast = next(r for r in ROWS if r.name == "Fast Parallel")
    assert found.speedups(fast, "net-1h") == {}


def test_claims_that_hold() -> None:
    found = verdicts({
        "Naive Serial": {32: 8.0, 1024: 8.1},
        "Multicore Parallel": {32: 6.0, 1024: 4.1},
        "Fast Serial": {32: 0.8, 1024: 0.82},
        "Fast Parallel": {32: 0.6, 1024: 0.6},
        "GPU Parallel": {32: 0.3, 1024: 0.1},
    })  # fmt: skip
    assert found == {
        "a": HOLDS, "b": HOLDS, "c": HOLDS, "d": HOLDS, "e": HOLDS, "f": HOLDS, "g": NOT_RUN,
        "h": NOT_RUN, "i": HOLDS, "j": NOT_RUN,
    }  # fmt: skip


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
    assert said["e"].verdict == HOLDS
    numbers = said["e"].numbers
    assert "x2.00 with 2 cores, efficiency 1.00 (the paper's 0.31); GPU not run" in numbers


PATCHED = """
import sys
from hpcpgd.study import paper, paper_command
paper.BATCHES = (32, 64)
from hpcpgd.study import paper_figures
paper_figures.BATCHES = paper.BATCHES
paper.QUICK = paper.Size(120, 2, 1, 60.0)
paper.has_device = lambda: False
from hpcpgd.study.cli import main
sys.exit(main(["paper", "--quick", "--dataset", sys.argv[1], "--folder", "p"]))
"""


def test_the_whole_command(tmp_path: Path) -> None:
    done = python("-c", PATCHED, str(MINI), cwd=tmp_path, timeout=240)
    assert done.code == 0, done.err
    assert done.out.count("no device") >= 2 * 2 * 2
    for letter in "abcdefghij":
        assert f"({letter}) " in done.out
    names = {path.name for path in (tmp_path / "p" / "figures").iterdir()}
    numbers = {5: "net-1h", 6: "net-1h", 7: "net-2h", 8: "net-2h", 9: "net-1h", 10: "net-2h"}
    assert names == {
        f"figure-{n:02d}-{net}.{kind}" for n, net in numbers.items() for kind in ("png", "pdf")
    }
    with h5py.File(tmp_path / "p" / "study.h5") as file:
        status = list(file["runs/status"].asstr())
        assert status.count("complete") == 6 * 2 * 2
        assert status.count("no device") == 2 * 2 * 2
        assert "Fast Parallel" in set(file["runs/paper_row"].asstr())
        assert (file["runs/epochs"][...][[s == "complete" for s in status]] == 1).all()


def test_without_data_one_line_says_what_to_fetch(tmp_path: Path) -> None:
    if Path("/usr/share/datasets/fashion-mnist").exists():
        pytest.skip("the system provides Fashion-MNIST")
    env = environment(HPCPGD_DATA=str(tmp_path), XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path))
    done = python("-m", "hpcpgd.study", "paper", "--quick", cwd=tmp_path, env=env)
    assert (done.code, done.err.count("\n")) == (65, 1)
    assert "data fetch mnist" in done.err
