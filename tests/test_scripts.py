"""The long checks in their quick form: they run and say what they should; no timing here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import python, run

SCRIPTS = Path(__file__).parent.parent / "scripts"


def test_check_clock_runs() -> None:
    done = python(str(SCRIPTS / "check_clock.py"), "--quick", timeout=120)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["1 ranks", "2 ranks"]
    assert all("ratio" in line for line in lines)


def test_check_timers_runs() -> None:
    done = python(str(SCRIPTS / "check_timers.py"), "--quick", timeout=120)
    assert (done.code, done.err) == (0, "")
    # Beginning and end: the products of one rank make the update themselves.
    assert done.out.startswith("2 readings a step")


def test_check_overhead_runs() -> None:
    done = python(str(SCRIPTS / "check_overhead.py"), "--quick", timeout=120)
    assert (done.code, done.err) == (0, "")
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["1 thread", "2 threads"]


def test_pixels_and_parameters_are_held_once() -> None:
    """Counted by the kernel: each rank's share of the pages that hold them."""
    data = ("--dataset", "synthetic:20000x784x10", "--ranks", "4")
    done = python(str(SCRIPTS / "check_memory.py"), *data, timeout=180)
    assert (done.code, done.err) == (0, "")
    rows = [
        (line.split()[0], line.split()[-3].rstrip(":"), float(line.split()[-2]))
        for line in done.out.splitlines()
    ]
    for reduction, what, times in rows:
        expected = 4 if reduction == "allreduce" else 1
        assert abs(times - expected) < 0.1 * expected, (reduction, what)
    assert len(rows) == 6


def test_killed_and_stopped_runs_go_on_to_the_same_bits(tmp_path: Path) -> None:
    words = ("--quick", "--output", str(tmp_path / "f.json"))
    done = python(str(SCRIPTS / "check_faults.py"), *words, timeout=300)
    assert (done.code, done.err) == (0, ""), done.out
    assert "kills: 2 of 2 right (seed 0)" in done.out
    assert "signals: 2 of 2 right (seed 0)" in done.out
    assert "fuzz: 2 of 2 right (seed 0)" in done.out
    assert json.loads((tmp_path / "f.json").read_text())["kinds"]["kills"]["wrong"] == []


def test_check_overlap_runs() -> None:
    done = python(str(SCRIPTS / "check_overlap.py"), "--steps", "1", timeout=180)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()][1:3] == ["allreduce", "overlap"]


SHELL = sorted(SCRIPTS.glob("*.sh")) + sorted((SCRIPTS.parent / "slurm").glob("*.sbatch"))


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse(path: Path) -> None:
    assert run(["bash", "-n", str(path)], 10).code == 0
