"""Runs of a study that end badly: killed, failed, diverged, timed out, stopped, not started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hpcpgd.cli.launcher import without_launcher
from tests.helpers.support import wait_until
from tests.study.test_study_jobs import PAIRS, SMALL, here, study

ONE = PAIRS.replace("[0.1, 0.2]", "[0.1]").replace(', "float64"', "")
MIXED = """
[study]
name = "mixed"
repeats = 1
time_limit = "10s"
[grid]
learning_rate = [0.1, 1e30]
activation = ["relu"]
hidden = [[32], [3000, 3000]]
[train]
output_activation = "linear"
loss = "mse"
epochs = 2000
batch_size = "full"
threads = 1
"""


def test_killed_at_any_moment_and_run_again_each_run_is_there_once(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL.replace("repeats = 3", "repeats = 1"))
    command = [sys.executable, "-m", "hpcpgd.study", "run", "small.toml", "--no-report"]
    random = np.random.default_rng(5)
    for _ in range(3):
        process = subprocess.Popen(
            command, cwd=tmp_path, env=without_launcher(os.environ), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(1 + 2 * random.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = study(tmp_path, "run", "small.toml", "--no-report")
    deadline = time.monotonic() + 60
    while done.code == 74 and time.monotonic() < deadline:
        assert "another process makes runs here" in done.err  # the run that was left alone
        time.sleep(0.3)
        done = study(tmp_path, "run", "small.toml", "--no-report")
    assert done.code == 0, done.err
    runs = tmp_path / "hpcpgd-study-small" / "runs"
    names = sorted(p.name for p in runs.iterdir() if not p.name.startswith("."))
    assert len(names) == 3
    stamps = {name: (runs / name).stat().st_mtime_ns for name in names}
    again = here(tmp_path, "run", "small.toml", "--no-report")
    assert (again.code, "3 of 3" in again.out) == (0, True)
    assert {name: (runs / name).stat().st_mtime_ns for name in names} == stamps


def test_failed_diverged_and_timed_out_runs_are_named(tmp_path: Path) -> None:
    (tmp_path / "mixed.toml").write_text(MIXED)
    done = study(tmp_path, "run", "mixed.toml").ended(1)
    assert "2 of 4 runs ended well" in done.out or "1 of 4 runs ended well" in done.out
    runs = tmp_path / "hpcpgd-study-mixed" / "runs"
    found = sorted(json.loads(p.read_text())["status"] for p in runs.glob("*.failed.json"))
    assert "diverged" in found
    assert "timed out" in found
    assert "diverged: gemm" in done.err
    assert "timed out: gemm" in done.err
    assert not list(runs.glob(".*running*"))
    assert "NaN or Inf" in done.out  # its report
    assert "no end after 10 s" in done.out


def test_a_dataset_that_is_not_there_is_a_failed_run(tmp_path: Path) -> None:
    text = '[study]\nrepeats = 1\n[grid]\ndataset = ["digits", "none.npz"]\n[train]\nepochs = 1\n'
    (tmp_path / "s.toml").write_text(text)
    done = study(tmp_path, "run", "s.toml", "--no-report").ended(1)
    assert "failed: " in done.err
    assert "none.npz" in done.err
    again = study(tmp_path, "run", "s.toml", "--retry-failed", "--no-report")
    assert "failed: " in again.err


def test_sigterm_ends_the_run_under_way(tmp_path: Path) -> None:
    text = PAIRS.replace("epochs = 1", "epochs = 1000000")
    (tmp_path / "pairs.toml").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-m", "hpcpgd.study", "run", "pairs.toml"], cwd=tmp_path, text=True,
        env=without_launcher(os.environ), stderr=subprocess.PIPE,
    )  # fmt: skip
    runs = tmp_path / "hpcpgd-study-pairs" / "runs"
    wait_until(lambda: [*runs.glob(".*running.h5")], 60)
    process.terminate()
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "0 of 4 runs are done: run again to go on" in error
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True)
    assert left.stdout == ""
    (tmp_path / "pairs.toml").write_text(ONE)
    assert study(tmp_path, "run", "pairs.toml", "--no-report").code == 0  # nothing holds the folder


@pytest.mark.parametrize(
    ("body", "code", "says", "failed"),
    [
        ("echo 'prterun has detected an attempt to run as root.' >&2; exit 1", 69,
         "run as root.: Open MPI wants OMPI_ALLOW_RUN_AS_ROOT=1", 0),
        ("exec env OMPI_COMM_WORLD_SIZE=2 $program", 69, "the launcher started 2 ranks", 0),
        ("case \"$program\" in *hpcpgd.train*) kill -9 $$;; esac; exec $program", 1,
         "failed: gemm-", 1),
    ],
)  # fmt: skip
def test_a_launcher_that_starts_nothing_has_no_failed_runs(
    body: str, code: int, says: str, failed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher that starts ranks has failed runs if the ranks of a run are killed."""
    script = tmp_path / "launcher"
    script.write_text(f'#!/bin/sh\nshift 2\nprogram="$*"\n{body}\n')
    script.chmod(0o755)
    (tmp_path / "pairs.toml").write_text(ONE)
    words = ("run", "pairs.toml", "--no-report", "--launcher", str(script))
    done = study(tmp_path, *words).ended(code)
    assert says in done.err
    assert done.err.count("hpcpgd study: error: ") == (code == 69)
    runs = tmp_path / "hpcpgd-study-pairs" / "runs"
    assert len([*runs.glob("*.failed.json")]) == failed
    if code == 69:  # within a job that may be over, too
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        job = study(tmp_path, *words)
        told = [line for line in job.err.splitlines() if line.startswith("not made: gemm-")]
        assert (job.code, len(told), says.split(":")[0] in told[0]) == (1, 1, True)
        assert "squeue says nothing of job 7, not RUNNING: the job seems to be over" in told[0]
        monkeypatch.undo()
    if not failed:
        # All runs are still to be done.
        assert study(tmp_path, "run", "pairs.toml", "--no-report").code == 0
