"""Keras on JAX on the training problem: a sequential model and its ``fit``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from common import Array, Problem, main


def prepare(options: argparse.Namespace) -> None:
    """Choose Keras's backend and JAX's device."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["JAX_PLATFORMS"] = "cuda" if options.device == "gpu" else "cpu"


def versions(options: argparse.Namespace) -> str:
    """Return the libraries and their versions."""
    import jax
    import keras

    try:
        jax.devices()
    except (AssertionError, RuntimeError):  # of JAX, for a device that is not there
        raise RuntimeError(f"JAX {jax.__version__} sees no {options.device.upper()}") from None
    return f"Keras {keras.__version__} on JAX {jax.__version__}"


def half_squares(targets: Any, outputs: Any) -> Any:
    """Return half the squared error of each example; Keras takes the mean."""
    import keras

    return 0.5 * keras.ops.sum(keras.ops.square(targets - outputs), axis=-1)


class Keras:
    """The network as Keras has it; each step is one program that XLA compiled."""

    def __init__(self, problem: Problem, options: argparse.Namespace, batch: int) -> None:
        import jax
        import keras

        jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
        self._jax = jax
        self._batch = batch
        self.device = jax.devices()[0].device_kind if options.device == "gpu" else "cpu"
        fan_in = problem.layers[0][0].shape[0]
        dense = [keras.layers.Dense(b.size, activation="sigmoid") for _, b in problem.layers]
        self._model = keras.Sequential([keras.Input((fan_in,)), *dense])
        self._model.set_weights([array for layer in problem.layers for array in layer])
        self._model.compile(optimizer=keras.optimizers.SGD(options.rate), loss=half_squares)

    def place(self, inputs: Array, targets: Array) -> None:
        """Keep the examples as NumPy arrays, which ``fit`` slices."""
        self._examples = inputs, targets

    def train(self) -> None:
        """Make the steps of an epoch."""
        history = self._model.fit(*self._examples, batch_size=self._batch, shuffle=False, verbose=0)
        self._jax.block_until_ready([v.value for v in self._model.trainable_variables])
        self._half = history.history["loss"][0]

    def loss(self) -> float:
        """Return the mean of ``|y - a|^2``: ``fit`` averages the halves over the examples."""
        return 2 * float(self._half)


if __name__ == "__main__":
    sys.exit(main(prepare, versions, Keras))
