"""The estimators, by scikit-learn's own checks and beside ``hpcpgd.fit``."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import check_estimator

import hpcpgd

X, Y = load_digits(return_X_y=True)
WORDS = np.array([f"digit {k}" for k in range(10)])[Y]


@pytest.mark.parametrize("make", [hpcpgd.MLPClassifier, hpcpgd.MLPRegressor])
def test_scikit_learn_finds_nothing(make: Any) -> None:
    check_estimator(make(max_iter=50, learning_rate_init=0.01), on_skip=None)


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
