"""Multilayer perceptrons by scikit-learn's conventions; the manual describes the parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from hpcpgd.errors import DataError, UnavailableError
from hpcpgd.estimators.fit import fit
from hpcpgd.kernels.core.network import Array

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise UnavailableError(
        f"scikit-learn cannot be loaded: {error}: pip install 'hpcpgd[sklearn]'"
    ) from None

REALS = (np.float64, np.float32)  # other numbers become the first of these
NAMES = {"logistic": "sigmoid", "identity": "linear"}  # of scikit-learn, and ours
BATCHES: dict[Any, Any] = {"auto": 200, "full": 2**62}  # rows; all, if there are less


@dataclass(eq=False, repr=False, kw_only=True)
class MLP(BaseEstimator):
    """What classifier and regressor share.  Its fields are the parameters."""

    hidden_layer_sizes: Any = (100,)
    activation: str = "relu"
    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate_init: float = 0.001
    max_iter: int = 200
    random_state: Any = 0
    verbose: bool = False
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    options: dict[str, Any] | None = None

    def _train(self, rows: tuple[Array, Array], comm: Any, task: str) -> Self:
        """Train on ``rows``, features and targets as the core has them."""
        sizes = np.atleast_1d(self.hidden_layer_sizes).tolist()
        seed = self.random_state
        if not isinstance(seed, int | np.integer):  # None or a generator, as in scikit-learn
            seed = int(check_random_state(seed).randint(2**31))
        data, patience = self._divided(rows, seed, task)
        x = data["x_train"]
        batch = BATCHES.get(self.batch_size, self.batch_size)
        if not isinstance(batch, int | np.integer):
            raise ValueError(
                f"batch_size is {batch!r}: expected a whole number, or {' or '.join(BATCHES)}"
            )
        batch = int(min(batch, len(x)))
        options = {
            "hidden": tuple(sizes),
            "activation": NAMES.get(self.activation, self.activation),
            "optimizer": self.solver, "batch_size": batch,
            "learning_rate": self.learning_rate_init, "weight_decay": self.alpha / max(batch, 1),
            "epochs": self.max_iter, "seed": seed, "quiet": not self.verbose,
            "dtype": x.dtype.name, "task": task, **patience, **(self.options or {}),
        }  # fmt: skip
        self.fitted_ = fit(comm=comm, data=data, **options)
        history = self.fitted_.history
        if self.early_stopping:
            score = "r2" if task == "regression" else "accuracy"
            self.validation_scores_ = history[f"validation_{score}"].tolist()
        self.loss_curve_ = history["train_loss"].tolist()
        self.n_iter_ = len(self.loss_curve_)
        return self

    def _divided(self, rows: tuple[Array, Array], seed: int, task: str) -> tuple[Any, Any]:
        """Return the data for `fit`, with validation rows to end early by, and its options."""
        x, y = rows
        if not self.early_stopping:
            return {"x_train": x, "y_train": y, "x_validation": x[:0], "y_validation": y[:0]}, {}
        classes = y if task == "classification" else None
        parts = train_test_split(
            x, y, test_size=self.validation_fraction, random_state=seed, stratify=classes
        )
        names = ("x_train", "x_validation", "y_train", "y_validation")
        return dict(zip(names, parts, strict=True)), {"patience": str(self.n_iter_no_change)}

    def _outputs(self, x: Any) -> Array:
        check_is_fitted(self)
        model = self.fitted_.best or self.fitted_.model
        return model.outputs(validate_data(self, x, reset=False, dtype=REALS))


def _agreed(comm: Any, prepare: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Return the communicator and the first of what ``prepare`` returns; collective.

    If a rank refuses its rows, every rank raises.  The second, facts of the rows, must be the
    same on all.
    """
    from hpcpgd.parallel import mpi  # only now: see ``fit``

    comm, error, made = mpi.start_in_program(comm), None, None
    try:
        made, facts = prepare()
        text = repr(facts)
    except Exception as caught:
        error, text = caught, f"refused: {caught}"
    texts = mpi.allgather_texts(comm, text)
    if error is not None:
        raise error
    for rank, other in enumerate(texts):
        if other != texts[0]:
            raise DataError(
                f"fit: rank {rank} has {other:.80}, rank 0 has {texts[0]:.80}: give the same rows "
                "on every rank",
                agreed=True,
            )
    return comm, made


class MLPClassifier(ClassifierMixin, MLP):
    """A classifier with softmax outputs, trained on the ranks of a communicator."""

    def fit(self, X: Any, y: Any, comm: Any = None) -> Self:  # noqa: N803  # scikit-learn's name
        """Train on labels (rows,), the same on every rank; collective over ``comm``, or all."""

        def prepare() -> tuple[Any, Any]:
            x, labels = validate_data(self, X, y, dtype=REALS)
            check_classification_targets(labels)
            self.classes_, codes = np.unique(labels, return_inverse=True)
            if len(self.classes_) < 2:
                raise ValueError(f"y has 1 class, {self.classes_[0]}: expected 2 or more")
            return (x, codes), {"columns": x.shape[1], "classes": self.classes_.tolist()}

        comm, rows = _agreed(comm, prepare)
        return self._train(rows, comm, "classification")

    def predict_proba(self, X: Any) -> Array:  # noqa: N803  # scikit-learn's name
        """Return the probability of each class of ``classes_``, (rows, classes)."""
        return self._outputs(X)

    def predict(self, X: Any) -> Array:  # noqa: N803  # scikit-learn's name
        """Return the most probable class of each row, (rows,)."""
        codes = self._outputs(X).argmax(axis=1)
        return np.asarray(self.classes_[codes])


class MLPRegressor(RegressorMixin, MLP):
    """A regressor with linear outputs and the mean squared error as its loss."""

    def fit(self, X: Any, y: Any, comm: Any = None) -> Self:  # noqa: N803  # scikit-learn's name
        """Train on targets (rows,) or (rows, targets); else as `MLPClassifier.fit`."""

        def prepare() -> tuple[Any, Any]:
            rows = validate_data(self, X, y, dtype=REALS, multi_output=True, y_numeric=True)
            self.shape_ = rows[1].shape[1:]
            return rows, {"columns": rows[0].shape[1], "targets": self.shape_}

        comm, rows = _agreed(comm, prepare)
        return self._train(rows, comm, "regression")

    def predict(self, X: Any) -> Array:  # noqa: N803  # scikit-learn's name
        """Return the predicted targets, of the shape of those of `fit`."""
        outputs = self._outputs(X)
        return self.fitted_.model.predictions(outputs).reshape(len(outputs), *self.shape_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
