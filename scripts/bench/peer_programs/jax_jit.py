"""JAX: XLA compiles the whole step to one program, to which the weights are donated.

With the argument ``adam`` the update is that of optax.  With ``bf16`` inputs, activations and
the weights of products are bfloat16; the weights that are updated stay float32.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from common import Layers, Problem, serve


class Jax:
    """JAX on the cores that this process may use: XLA starts a thread for each."""

    def __init__(self, adam: bool, dtype: str) -> None:
        self._adam, self._dtype = adam, dtype

    def open(self, request: dict[str, Any]) -> str:
        """Import JAX for the CPU."""
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax

        if not self._adam:
            return f"JAX {jax.__version__}"
        import optax

        return f"JAX {jax.__version__} with optax {optax.__version__}"

    def model(self, problem: Problem) -> Jitted:
        """Return a model with the minibatches as arrays of JAX."""
        return (Adapted if self._adam else Jitted)(problem, self._dtype)


class Jitted:
    """The weights, the minibatches and the compiled step."""

    def __init__(self, problem: Problem, dtype: str) -> None:
        import jax

        self._jax, self._dtype = jax, dtype
        pairs = zip(problem.inputs, problem.targets, strict=True)
        self._ring = [(jax.numpy.asarray(x, dtype), jax.device_put(y)) for x, y in pairs]
        self._step = jax.jit(self._updated, donate_argnums=0)
        self.put(problem.layers)

    def _loss(self, layers: Layers, x: Any, y: Any) -> Any:
        """Return half the squared error, its mean over the minibatch."""
        a = x
        for weights, biases in layers:
            z = a.astype(self._dtype) @ weights.astype(self._dtype)
            a = self._jax.nn.sigmoid(z + biases)
        return 0.5 * self._jax.numpy.sum((a - y) ** 2) / len(x)

    def _updated(self, layers: Layers, x: Any, y: Any, rate: Any) -> Any:
        """Return the weights after a step."""
        gradient = self._jax.grad(self._loss)(layers, x, y)
        return self._jax.tree.map(lambda p, d: p - rate * d, layers, gradient)

    def put(self, layers: Layers) -> None:
        """Set the weights."""
        # Copied: a donated buffer must not be the caller's memory.
        self._layers = self._jax.tree.map(lambda p: self._jax.numpy.array(p, copy=True), layers)

    def get(self) -> Layers:
        """Return the weights."""
        layers: Layers = self._jax.device_get(self._layers)
        return layers

    def train(self, first: int, steps: int, rate: float) -> None:
        """Make steps: a Python loop calls the compiled step."""
        ring, layers = self._ring, self._layers
        device_rate = self._jax.numpy.float32(rate)
        for number in range(first, first + steps):
            layers = self._step(layers, *ring[number % len(ring)], device_rate)
        self._layers = self._jax.block_until_ready(layers)


class Adapted(Jitted):
    """The same with Adam of optax, whose state is donated, too."""

    def _updated(self, layers: Layers, x: Any, y: Any, rate: Any) -> Any:
        import optax

        weights, state = layers
        gradient = self._jax.grad(self._loss)(weights, x, y)
        moves, state = optax.scale_by_adam().update(gradient, state)
        return self._jax.tree.map(lambda p, d: p - rate * d, weights, moves), state

    def put(self, layers: Layers) -> None:
        """Set the weights, and the state to zeros."""
        import optax

        super().put(layers)
        self._layers = self._layers, optax.scale_by_adam().init(self._layers)

    def get(self) -> Layers:
        """Return the weights."""
        layers: Layers = self._jax.device_get(self._layers[0])
        return layers


if __name__ == "__main__":
    sys.exit(serve(Jax("adam" in sys.argv, "bfloat16" if "bf16" in sys.argv else "float32")))
