"""Programs that make training steps on the GPU: ours, PyTorch's, JAX's.

The peers are given what favours them: one minibatch, gathered, scaled and on the GPU, for
every step.  Ours finds, gathers and scales new rows in each.  A step of PyTorch is one
CUDA graph; JAX makes all steps of a call in one loop on the device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from bench.setting import RATE, SEED, Setting
from hpcpgd.config import RunConfig
from hpcpgd.gpu import Gpu
from hpcpgd.kernels.network import Array
from hpcpgd.planning import make_trainer
from hpcpgd.resources import Resources
from hpcpgd.warmup import warm_up

TORCH_WARM_UP = 3  # steps that PyTorch must have made before it records one


class Runner(Protocol):
    """A contestant at work."""

    def run(self, steps: int) -> None:
        """Make training steps and wait until they are done."""

    def first_update(self) -> list[Array]:
        """Make one step; return what it took from weights and biases, float64.

        Called first, once: from the initial weights, with the first minibatch.
        """


class Ours:
    """The program's own step."""

    def __init__(self, setting: Setting, gpu: Gpu, backend: str, precision: str) -> None:
        self._setting = setting
        config = RunConfig(
            backend=backend, batch_size=setting.batch, seed=SEED, learning_rate=RATE,
            dtype="float32", matmul_precision=precision,
        )  # fmt: skip
        resources = Resources(1, False, None, gpu)
        self._trainer = make_trainer(
            setting.comm, config, setting.dataset, setting.network, setting.parameters(), resources
        )
        self._made = 0
        warm_up(self._trainer)

    def run(self, steps: int) -> None:
        """Make training steps, one epoch after the other."""
        for number in range(self._made, self._made + steps):
            epoch, step = divmod(number, self._setting.steps)
            self._trainer.reduction.step(epoch + 1, step, RATE)
        self._made += steps
        self._trainer.engine.settle()
        if self._trainer.engine.bad_step is not None:
            raise ArithmeticError("NaN or Inf in the gradient of a benchmark's step")

    def first_update(self) -> list[Array]:
        """Make the first step."""
        self.run(1)
        network, after = self._setting.network, self._trainer.engine.parameters
        return differences(self._setting, layers(network, after))


class Torch:
    """PyTorch: eager operations, recorded as one CUDA graph."""

    def __init__(self, setting: Setting, precision: str) -> None:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        self._torch, self._setting = torch, setting
        x, y = minibatch(setting)
        self._x, self._y = (torch.tensor(a, device="cuda") for a in (x, y))
        first = layers(setting.network, setting.parameters())
        self._parameters = [torch.tensor(p, device="cuda", requires_grad=True) for p in first]
        self._first = [p.detach().clone() for p in self._parameters]
        self._graph = self._record()

    def _step(self) -> None:
        torch, parameters = self._torch, self._parameters
        a = self._x
        for weights, biases in zip(parameters[::2], parameters[1::2], strict=True):
            a = torch.sigmoid(torch.addmm(biases, a, weights))
        loss = 0.5 * ((a - self._y) ** 2).sum() / self._setting.batch
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-RATE)

    def _record(self) -> Any:
        torch = self._torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(TORCH_WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        with torch.no_grad():
            for parameter, first in zip(self._parameters, self._first, strict=True):
                parameter.copy_(first)
        return graph

    def run(self, steps: int) -> None:
        """Launch the graph."""
        for _ in range(steps):
            self._graph.replay()
        self._torch.cuda.synchronize()

    def first_update(self) -> list[Array]:
        """Make the first step."""
        self.run(1)
        after = [p.detach().cpu().numpy() for p in self._parameters]
        return differences(self._setting, after)


class Jax:
    """JAX: one compiled loop of steps."""

    def __init__(self, setting: Setting, precision: str) -> None:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax
        import jax.numpy as jnp

        if jax.default_backend() != "gpu":
            raise RuntimeError(f"JAX computes on {jax.default_backend()} here")
        self._jax, self._setting = jax, setting
        x, y = minibatch(setting)
        self._data = (jnp.asarray(x), jnp.asarray(y))
        self._parameters = [jnp.asarray(p) for p in layers(setting.network, setting.parameters())]
        name = {"float32": "highest", "tf32": "tensorfloat32"}[precision]

        def loss(parameters: Any, x: Any, y: Any) -> Any:
            a = x
            for weights, biases in zip(parameters[::2], parameters[1::2], strict=True):
                a = jax.nn.sigmoid(a @ weights + biases)
            return 0.5 * jnp.sum((a - y) ** 2) / setting.batch

        def many(parameters: Any, x: Any, y: Any, steps: Any) -> Any:
            def step(_: Any, now: Any) -> Any:
                gradients = jax.grad(loss)(now, x, y)
                return [p - RATE * g for p, g in zip(now, gradients, strict=True)]

            with jax.default_matmul_precision(name):
                return jax.lax.fori_loop(0, steps, step, parameters)

        self._many = jax.jit(many, donate_argnums=0)

    def run(self, steps: int) -> None:
        """Make the steps in one call."""
        self._parameters = self._many(self._parameters, *self._data, steps)
        self._jax.block_until_ready(self._parameters)

    def first_update(self) -> list[Array]:
        """Make the first step."""
        self.run(1)
        return differences(self._setting, [np.asarray(p) for p in self._parameters])


def minibatch(setting: Setting) -> tuple[Array, Array]:
    """Return the first minibatch as the peers get it: inputs and one-hot labels."""
    data, rows = setting.dataset, setting.first_rows()
    x = data.train.features[rows].astype(np.float32) * np.float32(data.scale)
    return x, np.eye(10, dtype=np.float32)[data.train.labels[rows]]


def layers(network: Any, flat: Array) -> list[Array]:
    """Return weights and biases of all layers, in order."""
    numbers = range(1, network.depth + 1)
    return [f(flat, l).copy() for l in numbers for f in (network.weights, network.biases)]


def differences(setting: Setting, after: list[Array]) -> list[Array]:
    """Return what a step took from the initial parameters."""
    before = layers(setting.network, setting.parameters())
    pairs = zip(before, after, strict=True)
    return [b.astype(np.float64) - a.astype(np.float64) for b, a in pairs]


def contestants(gpu: Gpu, precision: str) -> dict[str, Callable[[Setting], Runner]]:
    """Return who can be timed at a precision, by name."""
    found: dict[str, Callable[[Setting], Runner]] = {
        "cuda": lambda setting: Ours(setting, gpu, "cuda", precision)
    }
    if precision == "float32":
        found["cuda-loops"] = lambda setting: Ours(setting, gpu, "cuda-loops", precision)
    found["PyTorch"] = lambda setting: Torch(setting, precision)
    found["JAX"] = lambda setting: Jax(setting, precision)
    return found
