"""The line at the end of a run that has learned nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpcpgd.config.resolve import resolve
from hpcpgd.data import Dataset, Split, load, prepare
from hpcpgd.data.assemble import NUMBERS
from hpcpgd.results.history import Epoch
from hpcpgd.train.learning_check import advice, at_chance, not_fallen
from tests.helpers.many import Case, together
from tests.helpers.support import Done

DIGITS = prepare(load("digits", seed=0), seed=0, train_rows=None, test_fraction=None)
NOTE = "note: no sign of learning: "
PAPER = ("--activation", "sigmoid", "--output-activation", "sigmoid", "--loss", "mse")
# Each learns with the defaults, or does not with what is given; both are seen in little time.
WORDS = {
    "main": ("--epochs", "10"),
    "net-1h": ("--network", "net-1h", "--epochs", "3"),
    "net-2h": ("--network", "net-2h", "--batch-size", "128", "--epochs", "3"),
    "tanh": ("--network", "net-1h", "--activation", "tanh", "--epochs", "3"),
    "paper": (*PAPER, "--epochs", "10"),
    "synthetic": ("--dataset", "synthetic:300x20x10", "--epochs", "2"),
    "high": (*PAPER, "--network", "net-1h", "--learning-rate", "1", "--epochs", "2"),
    "quiet": (*PAPER, "--network", "net-1h", "--learning-rate", "1", "--epochs", "1", "--quiet"),
}
LEARNS = ("main", "net-1h", "net-2h", "tanh", "paper", "synthetic")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    folder = str(tmp_path_factory.mktemp("runs"))
    common = ("train", "--threads", "1", "--output")
    return together(
        {name: Case((*common, f"{name}.h5", *words), folder) for name, words in WORDS.items()}
    )


@pytest.mark.parametrize("name", LEARNS)
def test_the_default_rate_learns_and_no_line_is_printed(name: str, runs: dict[str, Done]) -> None:
    assert (runs[name].code, runs[name].err) == (0, "")
    assert NOTE not in runs[name].out
    assert " (default), seed" in runs[name].out


def test_a_rate_far_too_high_is_named_beside_the_default(runs: dict[str, Done]) -> None:
    high = runs["high"].good()
    last = high.out.splitlines()[-1]
    assert last.startswith(f"{NOTE}validation accuracy ")
    assert last.endswith(" of the rows: try --learning-rate 0.125 (now 1)")
    assert ", rate 1, seed" in high.out
    assert (runs["quiet"].code, runs["quiet"].out) == (0, "")


def dataset(labels: Any, split: str = "validation") -> Dataset:
    """Return a dataset that has ``labels`` in one split, and no rows in the others."""
    none = Split(np.zeros((0, 1), np.uint8), np.zeros(0, np.int32))
    made = Dataset("made up", none, none, none, 10, 1.0, 0.0, True, "")
    rows = Split(np.zeros((len(labels), 1), np.uint8), np.asarray(labels, np.int32))
    return replace(made, train=rows) if split == "train" else replace(made, validation=rows)


def epoch(train: float, validation: float) -> Epoch:
    return Epoch(1.0, train, 1.0, validation, 1.0, 1.0, 1.0, 1.0, 1.0, 1)


def test_who_guesses_is_at_chance_in_98_of_100_runs() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 250)
    guesses = np.mean(random.integers(0, 10, (2000, 250)) == labels, axis=1)
    assert np.mean([at_chance(epoch(0.9, one), dataset(labels)) != "" for one in guesses]) > 0.98
    assert all(at_chance(epoch(0.9, np.mean(labels == k)), dataset(labels)) for k in range(10))
    assert not at_chance(epoch(0.1, 0.3), dataset(labels))


def test_accuracy_that_cannot_be_better_and_rows_that_are_not_there() -> None:
    assert not at_chance(epoch(np.nan, 1.0), dataset([0, 0, 0, 1]))
    assert at_chance(epoch(np.nan, 0.75), dataset([0, 0, 0, 1]))
    alone = dataset([0, 1] * 50, "train")
    assert at_chance(epoch(0.5, np.nan), alone).startswith("training accuracy 50.00 % is at chance")
    assert not at_chance(epoch(0.7, np.nan), alone)
    assert not at_chance(epoch(np.nan, np.nan), replace(alone, labelled=False))


def test_only_a_loss_that_has_not_fallen_in_several_epochs_is_told() -> None:
    assert not not_fallen(np.array([3.0]))
    assert not not_fallen(np.array([3.0, 3.5, 2.9]))
    assert "0.9000 in the first epoch, 1.0000 in" in not_fallen(np.array([0.9, 0.8, 1.0]))


TRIES: list[tuple[dict[str, Any], str]] = [
    ({"warmup_steps": 90}, "fewer --warmup-steps (now 90, and the run has 90 steps)"),
    ({}, "more --epochs (now 30) or a smaller --batch-size (now 32)"),
    ({"activation": "sigmoid", "batch_size": 1}, "more --epochs (now 30) or --activation relu"),
    ({"learning_rate": 0.001}, "--learning-rate 0.1 (now 0.001)"),
    ({"batch_size": 1, "max_steps": 9}, "more --max-steps (now 9)"),
]


@pytest.mark.parametrize(("options", "text"), TRIES)
def test_the_options_to_try(options: dict[str, Any], text: str) -> None:
    assert advice(resolve({}, options), DIGITS, 90) == text


def test_what_the_data_suggest_comes_first() -> None:
    config = resolve({}, {"warmup_steps": 90})
    wide = replace(DIGITS, range_note="features range from 0 to 90, on which training may be poor")
    assert advice(config, wide, 90) == "--standardise, as features range from 0 to 90"
    many = replace(wide, notes=("30 classes in 90 rows: are these labels? " + NUMBERS,))
    assert advice(config, many, 90) == "--task regression, if the labels are numbers to predict"
