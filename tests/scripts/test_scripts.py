"""The long checks in their quick form: they run and say what they should; no timing here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.support import SCRIPTS, run, script

quick_form = pytest.mark.long(
    reason="the quick form of a script for people, who see its result; the package's own tests run"
)
more = pytest.mark.long(reason="more of the same; two ranks always run")


@quick_form
def test_measure_clock_runs() -> None:
    done = script("measure_clock", "--quick", timeout=120).good()
    lines = done.out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["1 ranks", "2 ranks"]
    assert all("ratio" in line for line in lines)


@quick_form
def test_check_timers_runs() -> None:
    done = script("check_timers", "--quick", timeout=120).good()
    # Beginning and end: the products of one rank make the update themselves.
    assert done.out.startswith("2 readings a step")


@quick_form
def test_measure_overhead_runs() -> None:
    done = script("measure_overhead", "--quick", timeout=120).good()
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["1 thread", "2 threads"]


@quick_form
def test_bench_optimisers_runs(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    script("bench_optimisers", "--quick", "--output", str(output), timeout=180).ended(0)
    results = json.loads(output.read_text())
    for network in ("net-1h", "net-2h"):
        assert results[network]["batch"] == 128
        assert list(results[network]["seconds_per_60000"]) == ["sgd", "adam"]
        assert list(results[network]["ratios"]) == ["adam over sgd"]


@pytest.mark.parametrize(
    ("size", "ranks"),
    [(4000, 2), pytest.param(20000, 4, marks=more)],
)
def test_pixels_and_parameters_are_held_once(size: int, ranks: int) -> None:
    """Counted by the kernel: each rank's share of the pages that hold them."""
    data = ("--dataset", f"synthetic:{size}x784x10", "--ranks", str(ranks))
    done = script("measure_memory", *data, timeout=180).good()
    lines = done.out.splitlines()
    for reduction, *_, times, _ in map(str.split, lines):
        expected = ranks if reduction == "allreduce" else 1
        assert abs(float(times) - expected) < 0.1 * expected, done.out
    assert len(lines) == 6


@pytest.mark.long(reason="40 jobs; kills, signals, cuts, hangs and hostile files are tested alone")
@pytest.mark.timeout(2100)  # some 40 jobs: a minute on two idle cores
def test_whatever_fails_the_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    words = ("--quick", "--output", str(tmp_path / "f.json"))
    done = script("check_faults", *words, timeout=600).good()
    found = json.loads((tmp_path / "f.json").read_text())["kinds"]
    names = (
        *("kills", "signals", "cuts", "disk", "exceptions", "hangs", "nan", "flip-replica"),
        *("mismatches", "fuzz", "soak"),
    )
    assert tuple(found) == names
    for name, line in zip(names, done.out.splitlines(), strict=True):
        trials = found[name]["trials"]
        assert trials > 0
        assert line == f"{name}: {trials} of {trials} right (seed 0)"
        assert (found[name]["right"], found[name]["wrong"]) == (trials, [])
    assert found["cuts"]["cuts"] > 50
    assert found["exceptions"]["hangs"] == 0


@quick_form
@pytest.mark.timeout(2100)
def test_no_thread_outlives_its_memory(tmp_path: Path) -> None:
    words = ("--quick", "--output", str(tmp_path / "t.json"))
    script("check_threads", *words, timeout=600).good()
    found = json.loads((tmp_path / "t.json").read_text())
    assert (found["jobs"], found["join"], found["wrong"]) == (4, True, [])


@quick_form
@pytest.mark.timeout(2100)
def test_a_thread_that_outlives_its_memory_would_be_found(tmp_path: Path) -> None:
    words = ("--runs", "1", "--seed", "3", "--without-join", "--output", str(tmp_path / "t.json"))
    done = script("check_threads", *words, timeout=600).ended(1)
    found = json.loads((tmp_path / "t.json").read_text())
    assert found["crashes"] + found["outlived"] == 1, done.err


@quick_form
def test_measure_checkpoint_runs(tmp_path: Path) -> None:
    words = ("--rounds", "1", "--folder", str(tmp_path))
    done = script("measure_checkpoint", *words, timeout=60).good()
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["net-1h", "net-2h"]
    assert list(tmp_path.iterdir()) == []


@quick_form
def test_measure_overlap_runs() -> None:
    done = script("measure_overlap", "--steps", "1", timeout=180).good()
    assert [line.split()[0] for line in done.out.splitlines()][1:3] == ["allreduce", "overlap"]


@quick_form
@pytest.mark.amx
def test_check_precision_runs(tmp_path: Path) -> None:
    done = script("check_precision", "--quick", "--output", str(tmp_path / "p.json"), timeout=120)
    found = json.loads((tmp_path / "p.json").read_text())
    assert (done.code, done.err) == (bool(found["missed"]), "")
    assert (len(found["errors"]), found["layers"] > 6, len(found["learning"])) == (3, True, 1)
    assert found["mean"] < 1.05


SHELL = sorted(SCRIPTS.glob("*.sh")) + sorted((SCRIPTS.parent / "slurm").glob("*.sbatch"))


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse(path: Path) -> None:
    run(["bash", "-n", str(path)], 20).good()
