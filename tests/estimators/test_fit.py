"""``hpcpgd.fit``: the numbers of the command line, and nothing left behind in the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import hpcpgd
from hpcpgd.engines.parameters import params_sha256
from hpcpgd.errors import HpcpgdError
from tests.helpers.support import TRAIN, python

ROWS = {"x_train": np.random.default_rng(0).random((50, 3)), "y_train": np.arange(50) % 2}
SMALL: dict[str, Any] = {"epochs": 2, "hidden": (8,), "quiet": True}
# Trains four times, the first with an interrupt or an error, and looks for what stays.
AGAIN = """
import contextlib, os, pathlib, signal, sys, threading, time, hpcpgd.errors
from threadpoolctl import threadpool_info
from hpcpgd.environment.fault_points import hooks
def left():
    time.sleep(0.5)  # the system ends a thread later than Python does
    return [
        threading.enumerate(), os.listdir("/proc/self/task"), os.listdir("/proc/self/fd"),
        pathlib.Path("/proc/self/maps").read_text().count("/dev/shm/"), os.listdir(),
        [signal.getsignal(n) for n in (2, 10, 15)], [p["num_threads"] for p in threadpool_info()],
    ]
def train(seed):
    more = {"hidden": (256,), "batch_size": 512, "threads": 2, "reduction": sys.argv[1]}
    return hpcpgd.fit(epochs=2, seed=seed, **more).model.parameters
def fail(*_):
    raise hpcpgd.errors.DataError("", agreed=True) if sys.argv[2] == "3" else KeyboardInterrupt
hooks["validation"] = fail
with contextlib.suppress(KeyboardInterrupt, hpcpgd.errors.DataError):
    train(0)
hooks.clear()
before = left()
first, second, third = train(0), train(1), train(0)
assert left() == before, (left(), before)
assert (first == third).all() and (first != second).any()
"""


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("reduction", ["shared", "reproducible"])
def test_a_process_trains_again(reduction: str, ranks: int, tmp_path: Path) -> None:
    words = ("-W", "error", "-c", AGAIN, reduction, str(ranks))
    done = python(*words, ranks=ranks if ranks > 1 else None, cwd=tmp_path).good()
    assert [line[:9] for line in done.out.splitlines()] == ["epoch 1/2", "epoch 2/2"] * 3


def test_the_bits_are_those_of_the_command_line(tmp_path: Path) -> None:
    words = ("--epochs", "2", "--hidden", "8", "--optimizer", "adam", "--quiet")
    assert python(*TRAIN, *words, "--output", "r.h5", cwd=tmp_path).code == 0
    fitted = hpcpgd.fit(**SMALL, optimizer="adam")
    model = fitted.model
    with h5py.File(tmp_path / "r.h5") as file:
        assert params_sha256(model.network, model.parameters) == file.attrs["params_sha256"]
        np.testing.assert_array_equal(fitted.history["train_loss"], file["history/train_loss"])


def test_arrays_are_a_dataset_like_a_file_of_them(tmp_path: Path) -> None:
    rows = {**ROWS, "y_train": np.array(["no", "yes"])[ROWS["y_train"]]}
    np.savez(tmp_path / "rows.npz", **rows)
    other = hpcpgd.fit(dataset=str(tmp_path / "rows.npz"), **{**SMALL, "epochs": 4})
    for epochs in (2, 4):  # the second goes on from the file of the first
        one = hpcpgd.fit(data=rows, output=str(tmp_path / "r.h5"), **{**SMALL, "epochs": epochs})
    assert (one.path, one.model.labels) == (tmp_path / "r.h5", ("no", "yes"))
    outputs = (fitted.model.outputs(ROWS["x_train"]) for fitted in (one, other))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epoch": 3}, "unknown option 'epoch'; did you mean 'epochs'?"),
        ({"comm": 3}, "comm is of type int: expected a communicator of mpi4py"),
        ({"data": {**ROWS, "x_train": [[1, 2], [3]]}}, "x_train: its rows are not equally long"),
        ({"epochs": 0}, "--epochs: expected a whole number, 1 or more"),
        ({"data": {"x_train": ROWS["x_train"]}}, "<arrays>: has no array y_train"),
        ({"learning_rate": 1e30}, "NaN or Inf"),
    ],
)
def test_an_error_ends_nothing(options: dict[str, Any], text: str) -> None:
    with pytest.raises(HpcpgdError, match=text):
        hpcpgd.fit(**{**SMALL, "data": ROWS, **options})
    with pytest.raises(HpcpgdError, match=r"expected \(rows, 3\)"):
        hpcpgd.fit(data=ROWS, **SMALL).model.outputs(np.ones((1, 2)))


def test_a_regression_has_scores_and_predicts_in_the_units_of_its_data() -> None:
    x = np.random.default_rng(1).random((200, 3))
    y = 50 + 7 * x[:, :2]
    data = {"x_train": x[:150], "y_train": y[:150], "x_test": x[150:], "y_test": y[150:]}
    more: dict[str, Any] = {"task": "regression", "standardise": True, "keep_best": True}
    fitted = hpcpgd.fit(
        data=data, activation=("gelu",), hidden=(16,), epochs=40, quiet=True, **more
    )
    predicted, truth = fitted.predict(x[150:].tolist()), y[150:]
    r2 = 1 - ((predicted - truth) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum()
    assert abs(fitted.test["r2"] - r2) < 0.01
    assert r2 > 0.9
    assert fitted.history["validation_r2"][-1] > fitted.history["validation_r2"][0]
    assert fitted.best is not None
    assert repr(fitted) == "Fitted(3-16-2, 40 epochs, path=None)"
