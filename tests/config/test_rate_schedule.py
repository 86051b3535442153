"""Learning rates by step, against PyTorch's schedules (scripts/make_trajectory.py)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcpgd.config.rate_schedule import RateSchedule
from tests.helpers.support import SAMPLES, TRAIN, python

SCHEDULES = {
    "step": RateSchedule("step", 0.3, 0, 100),
    "cosine": RateSchedule("cosine", 0.3, 0, 100),
    "warmup": RateSchedule("cosine", 0.3, 20, 100),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_hundred_steps_of_pytorch(name: str) -> None:
    rates = [SCHEDULES[name].at(step) for step in range(100)]
    stored = np.load(SAMPLES / "trajectory.npz")[f"{name}_rates"]
    np.testing.assert_allclose(rates, stored, rtol=1e-12, atol=1e-16)


def test_a_constant_rate_is_the_rate_itself() -> None:
    assert {RateSchedule("constant", 0.1, 0, 7).at(step) for step in range(9)} == {0.1}


def test_a_run_records_the_rate_of_each_epoch_s_last_step(tmp_path: Path) -> None:
    words = ("--schedule", "cosine", "--warmup-steps", "50", "--learning-rate", "0.3")
    python(*TRAIN, *words, "--epochs", "3", "--output", "r.h5", cwd=tmp_path).good()
    expected = [
        0.3 * (1 + np.cos(np.pi * (step - 50) / 70)) / 2 if step >= 50 else 0.3 * (step + 1) / 50
        for step in (39, 79, 119)
    ]
    with h5py.File(tmp_path / "r.h5") as file:
        np.testing.assert_allclose(file["history/learning_rate"][...], expected, rtol=1e-12)
