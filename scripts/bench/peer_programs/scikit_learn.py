"""scikit-learn: ``MLPClassifier.partial_fit`` with one minibatch per call.

The classifier has no squared error.  With one-hot targets it has sigmoid outputs and the
binary cross-entropy, whose gradient differs only in the deltas of the outputs.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from common import Layers, Problem, serve


class ScikitLearn:
    """scikit-learn on the threads of NumPy's BLAS, which the environment has set."""

    def open(self, request: dict[str, Any]) -> str:
        """Import scikit-learn and switch off the checks of every call."""
        import sklearn
        import sklearn.neural_network

        sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
        return f"scikit-learn {sklearn.__version__}"

    def model(self, problem: Problem) -> Classifier:
        """Return a model with integer targets, as scikit-learn takes them."""
        return Classifier(problem)


class Classifier:
    """An ``MLPClassifier`` that does plain gradient descent."""

    def __init__(self, problem: Problem) -> None:
        from sklearn.neural_network import MLPClassifier

        self._ring = list(zip(problem.inputs, problem.targets.astype(int), strict=True))
        self._classifier = MLPClassifier(
            [biases.size for _, biases in problem.layers[:-1]],
            activation="logistic",
            solver="sgd",
            alpha=0.0,
            batch_size=problem.inputs.shape[1],
            learning_rate_init=problem.rate,
            momentum=0.0,
            nesterovs_momentum=False,
            shuffle=False,
        )
        # The first call creates the weights and the optimizer.
        classes = list(range(problem.targets.shape[2]))
        self._classifier.partial_fit(*self._ring[0], classes=classes)
        self.put(problem.layers)

    def put(self, layers: Layers) -> None:
        """Set the weights in place."""
        arrays = zip(self._classifier.coefs_, self._classifier.intercepts_, strict=True)
        for (coefs, intercepts), (weights, biases) in zip(arrays, layers, strict=True):
            coefs[:], intercepts[:] = weights, biases

    def get(self) -> Layers:
        """Return the weights."""
        return list(zip(self._classifier.coefs_, self._classifier.intercepts_, strict=True))

    def train(self, first: int, steps: int, rate: float) -> None:
        """Make steps, each a call of ``partial_fit``."""
        # The optimizer has a copy of the rate from when it was created.
        self._classifier._optimizer.learning_rate = rate
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about convergence
            for number in range(first, first + steps):
                self._classifier.partial_fit(*self._ring[number % len(self._ring)])


if __name__ == "__main__":
    sys.exit(serve(ScikitLearn()))
