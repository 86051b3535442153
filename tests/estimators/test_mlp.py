"""The estimators, by scikit-learn's own checks and beside ``hpcpgd.fit``."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import check_estimator

import hpcpgd

X, Y = load_digits(return_X_y=True)
WORDS = np.array([f"digit {k}" for k in range(10)])[Y]


@pytest.mark.parametrize("make", [hpcpgd.MLPClassifier, hpcpgd.MLPRegressor])
def test_scikit_learn_finds_nothing(make: Any) -> None:
    check_estimator(make(max_iter=50, learning_rate_init=0.01), on_skip=None)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_early_stopping_predicts_with_the_best_epoch(task: str) -> None:
    """A second run that is as long as the best epoch was has the same rows and predictions."""
    make, y = {
        "classification": (hpcpgd.MLPClassifier, Y), "regression": (hpcpgd.MLPRegressor, X[:, 20])
    }[task]  # fmt: skip
    given = {"hidden_layer_sizes": 16, "learning_rate_init": 0.05, "early_stopping": True}
    ended = make(**given, n_iter_no_change=3, max_iter=80).fit(X, y)
    losses = ended.fitted_.history["validation_loss"]
    best = int(np.argmin(losses)) + 1
    assert ended.n_iter_ == len(ended.validation_scores_) == best + 3 < 80
    short = make(**given, max_iter=best).fit(X, y)
    np.testing.assert_array_equal(short.predict(X), ended.predict(X))
    assert not np.array_equal(ended.fitted_.model.outputs(X), short.fitted_.model.outputs(X))


def test_a_score_is_that_of_the_rows_held_back() -> None:
    """scikit-learn's own division of the rows, and its score of the best weights on them."""
    ended = hpcpgd.MLPClassifier(
        early_stopping=True, validation_fraction=0.2, n_iter_no_change=2, max_iter=15
    ).fit(X, WORDS)
    _, held, _, labels = train_test_split(X, WORDS, test_size=0.2, random_state=0, stratify=Y)
    best = int(np.argmin(ended.fitted_.history["validation_loss"]))
    assert ended.validation_scores_[best] == ended.score(held, labels)


def test_parameters_are_those_of_fit() -> None:
    given = {"hidden_layer_sizes": 8, "activation": "tanh", "max_iter": 10, "random_state": 7}
    one = hpcpgd.MLPClassifier(alpha=0.5, **given).fit(X, WORDS)
    other = hpcpgd.fit(
        data={"x_train": X, "y_train": Y, "x_validation": X[:0], "y_validation": Y[:0]},
        hidden=(8,), activation="tanh", optimizer="adam", weight_decay=0.0025, batch_size=200,
        learning_rate=0.001, epochs=10, seed=7, dtype="float64", quiet=True,
    )  # fmt: skip
    again, expected = pickle.loads(pickle.dumps(one)), other.model.outputs(X)
    np.testing.assert_array_equal(again.predict_proba(X), expected)
    assert again.predict(X).tolist() == one.classes_[expected.argmax(axis=1)].tolist()
    assert one.loss_curve_ == other.history["train_loss"].tolist()
    assert other.history["steps"].tolist() == [9] * one.n_iter_
