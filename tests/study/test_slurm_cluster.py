"""scripts/slurm_cluster.sh itself: what it ends, what it leaves alone, and its messages."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers.support import environment, run
from tests.helpers.virtual_slurm import SCRIPT, SRUN, TRAIN, Cluster, until

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.long(reason="starts virtual clusters, which only the long tests of SLURM need"),
]


def test_stop_removes_nothing_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "slurm.conf").write_text("ClusterName=real\n")
    done = run([SCRIPT, "stop"], 30, environment(HPCPGD_SLURM_DIR=str(tmp_path)))
    assert (done.code, "is not a cluster of this script" in done.err) == (73, True)
    assert (tmp_path / "slurm.conf").exists()


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    lost = Cluster(tmp_path / "c")
    broken = tmp_path / "bin" / "slurmd"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'slurmd: fatal: no such node' >&2\nexit 1\n")
    broken.chmod(0o755)
    done = run([SCRIPT, "start"], 90, {**lost.env, "PATH": f"{broken.parent}:{lost.env['PATH']}"})
    assert (done.code, done.out) == (1, "")
    assert "fatal: no such node" in done.err
    assert not lost.folder.exists()
    assert not subprocess.run(["pgrep", "-f", str(lost.folder)], capture_output=True).stdout


def test_stop_ends_jobs_whose_controller_has_gone(tmp_path: Path) -> None:
    lost = Cluster(tmp_path / "c")
    assert lost.call(SCRIPT, "start", timeout=90).code == 0
    job = f"{SRUN} {TRAIN} lost.h5 --epochs 1000000"
    lost.batch(job, tmp_path, "--ntasks=2")
    until((tmp_path / "lost.h5").exists, 60)
    os.kill(int((lost.folder / "slurmctld.pid").read_text()), signal.SIGKILL)
    done = lost.call(SCRIPT, "stop", timeout=90)
    assert (done.code, done.out, done.err) == (0, "stopped\n", "")
    left = ["pgrep", "-f", "output lost.h5"]
    until(lambda: not subprocess.run(left, capture_output=True).stdout, 20)
    assert not lost.folder.exists()
