"""The choice of the learning rate: the same on any number of ranks, the test set opened once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcpgd.cli import console
from hpcpgd.config.run_config import flag_name
from hpcpgd.study.learning_rates import RATES, best_of
from hpcpgd.study.select import REFUSED
from tests.helpers.many import Case, together
from tests.helpers.support import TRAIN, Done, inside, python

SELECT = ("-m", "hpcpgd.study", "select")


Many = Callable[[str], tuple[Done, Path]]
SHORT = ("--epochs", "3", "--dtype", "float64", "--threads", "1")
MISTAKES = {
    "tries the rates 0.001": (("--learning-rate", "0.1"), 2),
    "tries the rates": (("--learning-rate=0.1",), 2),
    "did you mean '--epochs'": (("--epoch", "3"), 2),
    "--hang-limit goes with train": (("--hang-limit", "1min"), 2),
    "--lr goes with train: select tries": (("--lr", "0.1"), 2),
    "--reduction goes with train": (("--reduction=shared",), 2),
    "--print-config goes with train": (("--print-config",), 2),
    "run.toml: [train] resume goes with train": (("--config", "run.toml"), 78),
    "rate.toml: [train] learning_rate goes with train": (("--config", "rate.toml"), 78),
    "none.npz": (("--dataset", "none.npz"), 65),
    "no validation rows": (("--dataset", "synthetic:60x4x2"), 78),
    "/nowhere": (("--output", "/nowhere/x.h5"), 74),
}
WILD = (
    *("--dataset", "wild.npz", "--loss", "mse", "--output-activation", "linear"),
    *("--epochs", "3"),
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Many:
    """Return a function that returns the outcome of one run of many, and its folder."""
    words = {f"{hint} on {n}": (flags, n) for hint, (flags, _) in MISTAKES.items() for n in (0, 2)}
    words |= {f"choice on {n}": ((*SHORT, "--output", "s.h5"), n) for n in (0, 2)}
    words["wild"] = (WILD, 2)
    folders = {name: tmp_path_factory.mktemp("select") for name in words}
    x, y = np.full((40, 5), 1e30), np.arange(40) % 2
    np.savez(folders["wild"] / "wild.npz", x_train=x, y_train=y)
    for folder in folders.values():
        (folder / "run.toml").write_text("[train]\nresume = 'never'\n")
        (folder / "rate.toml").write_text("[train]\nepochs = 3\nlearning_rate = 0.1\n")
    done = together(
        {
            name: Case(("study", "select", *flags), str(folders[name]), ranks)
            for name, (flags, ranks) in words.items()
        }
    )
    return lambda name: (done[name], folders[name])


def test_ties_take_the_lower_rate_and_divergence_loses() -> None:
    nan = float("nan")
    assert best_of(RATES, [0.1, 0.9, 0.9, 0.2, nan, 0.9]) == 1
    assert best_of(RATES, [nan, nan, 0.3, nan, nan, nan]) == 2
    assert best_of(RATES, [nan] * 6) is None
    assert best_of([1.0, 0.5], [0.7, 0.7]) == 1


@pytest.mark.parametrize("ranks", [0, 2, 7])
def test_any_number_of_ranks_finds_the_same(ranks: int, many: Many, tmp_path: Path) -> None:
    if ranks == 7:  # a job as users start it
        done = python(*SELECT, *SHORT, "--output", "s.h5", ranks=ranks, cwd=tmp_path)
        folder = tmp_path
    else:
        done, folder = many(f"choice on {ranks}")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [float(line.split()[0]) for line in lines[1:7]] == list(RATES)
    assert sum("chosen" in line for line in lines[1:7]) == 1
    with h5py.File(folder / "s.h5") as file:
        accuracies = file["validation_accuracy"][...]
        chosen = file.attrs["chosen_learning_rate"]
        assert accuracies[RATES.index(chosen)] == accuracies.max()
        tested = file.attrs["test_accuracy"]
    # The program itself, with that rate, comes to the same.
    rate = ("--learning-rate", str(chosen), "--quiet", "--output", "run.h5")
    assert python(*TRAIN, *SHORT, *rate, cwd=tmp_path).code == 0
    with h5py.File(tmp_path / "run.h5") as run:
        assert run["test/accuracy"][()] == pytest.approx(tested, abs=1e-12)
        last = run["history/validation_accuracy"][-1]
        assert last == pytest.approx(accuracies.max(), abs=1e-12)


def test_the_test_set_is_opened_once(tmp_path: Path) -> None:
    script = """
import sys
from hpcpgd.machine import jit_cache
from hpcpgd.parallel import mpi
mpi.start()
jit_cache.share_folder(mpi.join(mpi.MPI.COMM_WORLD))
from hpcpgd.train import training_loop
inner = training_loop.evaluate
def evaluate(comm, engine, dataset, name, confusion):
    print(name, file=sys.stderr)
    return inner(comm, engine, dataset, name, confusion)
training_loop.evaluate = evaluate
from hpcpgd.study.cli import main
sys.exit(main(["select", "--epochs", "2"]))
"""
    done = python("-c", script, cwd=tmp_path).ended(0)
    seen = done.err.split()
    assert (seen.count("validation"), seen.count("test")) == (2 * len(RATES), 1)
    assert seen[-1] == "test"


def test_when_every_rate_diverges_that_is_the_answer(many: Many) -> None:
    many("wild")[0].one_line(3, "every learning rate")


def test_the_help_has_no_flag_that_is_refused(tmp_path: Path) -> None:
    flags = {}
    for words in (("train",), ("study", "select")):
        done = inside(tmp_path, console.main, *words, "--help")
        flags[words[-1]] = set(re.findall(r"^  (--[a-z-]+)", done.out, re.MULTILINE))
    assert flags["train"] - flags["select"] == {flag_name(key) for key in REFUSED}
    assert flags["select"] < flags["train"]


@pytest.mark.parametrize("hint", MISTAKES)
def test_one_line_for_each_mistake(hint: str, many: Many) -> None:
    for ranks in (0, 2):
        many(f"{hint} on {ranks}")[0].one_line(MISTAKES[hint][1], hint, out="")
