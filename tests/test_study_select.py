"""The choice of the learning rate: the same on any number of ranks, the test set opened once."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcpgd.study.select import RATES, best_of
from tests.support import TRAIN, Done, python

SELECT = ("-m", "hpcpgd.study", "select")


def select(folder: Path, *flags: str, ranks: int | None = None) -> Done:
    return python(*SELECT, *flags, ranks=ranks, cwd=folder)


def test_ties_take_the_lower_rate_and_divergence_loses() -> None:
    nan = float("nan")
    assert best_of(RATES, [0.1, 0.9, 0.9, 0.2, nan, 0.9]) == 1
    assert best_of(RATES, [nan, nan, 0.3, nan, nan, nan]) == 2
    assert best_of(RATES, [nan] * 6) is None
    assert best_of([1.0, 0.5], [0.7, 0.7]) == 1


@pytest.mark.parametrize("ranks", [None, 2, 7])
def test_any_number_of_ranks_finds_the_same(ranks: int | None, tmp_path: Path) -> None:
    flags = ("--epochs", "3", "--dtype", "float64", "--threads", "1")
    done = select(tmp_path, *flags, "--output", "s.h5", ranks=ranks)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [float(line.split()[0]) for line in lines[1:7]] == list(RATES)
    assert sum("chosen" in line for line in lines[1:7]) == 1
    with h5py.File(tmp_path / "s.h5") as file:
        accuracies = file["validation_accuracy"][...]
        chosen = file.attrs["chosen_learning_rate"]
        assert accuracies[RATES.index(chosen)] == accuracies.max()
        tested = file.attrs["test_accuracy"]
    # The program itself, with that rate, comes to the same.
    rate = ("--learning-rate", str(chosen), "--quiet", "--output", "run.h5")
    assert python(*TRAIN, *flags, *rate, cwd=tmp_path).code == 0
    with h5py.File(tmp_path / "run.h5") as run:
        assert run["test/accuracy"][()] == pytest.approx(tested, abs=1e-12)
        last = run["history/validation_accuracy"][-1]
        assert last == pytest.approx(accuracies.max(), abs=1e-12)


def test_the_test_set_is_opened_once(tmp_path: Path) -> None:
    script = """
import sys
from hpcpgd import jitcache, mpi
mpi.start()
jitcache.share_folder(mpi.join(mpi.MPI.COMM_WORLD))
from hpcpgd import training
inner = training.evaluate
def evaluate(comm, engine, dataset, name, confusion):
    print(name, file=sys.stderr)
    return inner(comm, engine, dataset, name, confusion)
training.evaluate = evaluate
from hpcpgd.study.cli import main
sys.exit(main(["select", "--epochs", "2"]))
"""
    done = python("-c", script, cwd=tmp_path)
    assert done.code == 0
    seen = done.err.split()
    assert (seen.count("validation"), seen.count("test")) == (2 * len(RATES), 1)
    assert seen[-1] == "test"


def test_when_every_rate_diverges_that_is_the_answer(tmp_path: Path) -> None:
    x = np.full((40, 5), 1e30)
    y = np.arange(40) % 2
    np.savez(tmp_path / "wild.npz", x_train=x, y_train=y)
    flags = ("--dataset", "wild.npz", "--activation", "relu", "--output-activation", "linear")
    done = select(tmp_path, *flags, "--epochs", "3", ranks=2)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "every learning rate" in done.err


@pytest.mark.parametrize(
    ("flags", "code", "hint"),
    [
        (("--learning-rate", "0.1"), 2, "tries the rates 0.001"),
        (("--learning-rate=0.1",), 2, "tries the rates"),
        (("--epoch", "3"), 2, "did you mean '--epochs'"),
        (("--dataset", "none.npz"), 65, "none.npz"),
        (("--dataset", "synthetic:60x4x2"), 78, "no validation rows"),
        (("--output", "/nowhere/x.h5"), 74, "/nowhere"),
    ],
)
def test_one_line_for_each_mistake(
    flags: tuple[str, ...], code: int, hint: str, tmp_path: Path
) -> None:
    for ranks in (None, 2):
        done = select(tmp_path, *flags, ranks=ranks)
        assert (done.code, done.err.count("\n"), done.out) == (code, 1, "")
        assert hint in done.err
