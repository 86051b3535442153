"""SIGUSR1 and SIGTERM end a run between two steps, with what it has."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.support import mpiexec, python, started, wait_until

TRAIN = ("-m", "hpcpgd.train", "--threads", "1", "--quiet", "--output")
LONG = ("--epochs", "1000000")


def test_a_signal_before_the_first_step_ends_at_once(tmp_path: Path) -> None:
    """While MPI and the kernels are loaded, there is nothing to save."""
    bit = 1 << (signal.SIGUSR1 - 1)
    with started([sys.executable, *TRAIN, "r.h5", *LONG], tmp_path) as process:
        status = Path(f"/proc/{process.pid}/status")
        wait_until(lambda: int(status.read_text().split("SigCgt:")[1].split()[0], 16) & bit, 30)
        assert not (tmp_path / "r.h5").exists()
        process.send_signal(signal.SIGUSR1)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 75
    assert error == "hpcpgd train: stopped by SIGUSR1 before training began: run again\n"
    assert not (tmp_path / "r.h5").exists()


@pytest.mark.parametrize(
    ("number", "ranks"),
    [
        *((signal.SIGUSR1, 0), (signal.SIGTERM, 1), (signal.SIGUSR1, 3), (signal.SIGTERM, 3)),
        *((signal.SIGINT, 0), (signal.SIGINT, 2)),
    ],
)
def test_the_weights_are_those_of_so_many_steps(
    number: signal.Signals, ranks: int, tmp_path: Path
) -> None:
    launcher = [mpiexec(), "-n", str(ranks)] if ranks else []
    command = [*launcher, sys.executable, *TRAIN, "stopped.h5", *LONG]
    path = tmp_path / "stopped.h5"
    with started(command, tmp_path) as process:
        wait_until(path.exists, 120)
        time.sleep(0.5)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    interrupted = number == signal.SIGINT
    assert (process.returncode, error.count("hpcpgd train: ")) == (75, 1)
    assert error.count("interrupted: the run stops after this step") == interrupted
    assert "stopped after" in error
    with h5py.File(path) as file:
        assert file.attrs["status"] == "stopped"
        steps = int(file["segments/last_step"][0])
        assert steps == file["history/steps"][...].sum() > 0
        assert np.isnan(file["history/validation_loss"][-1])
        assert "test" not in file
        weights = file.attrs["params_sha256"]
    limit = ("--max-steps", str(steps))
    python(*TRAIN, "counted.h5", *LONG, *limit, ranks=max(ranks, 1), cwd=tmp_path).ended(0)
    with h5py.File(tmp_path / "counted.h5") as file:
        assert file.attrs["params_sha256"] == weights
