"""Programs that make training steps on the GPU: ours, PyTorch's, JAX's.

The peers get an advantage: one minibatch for all steps, gathered, scaled and on the GPU.  Our
program selects, gathers and scales new rows in each step.  A step of PyTorch is one CUDA
graph; JAX makes many steps in one compiled loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from hpcpgd.kernels.core.network import Array
from hpcpgd.machine.gpu import Gpu
from hpcpgd.train.warmup import warm_up
from scripts.bench.contestants import GAIN, make_trainer_of
from scripts.bench.setting import RATE, Setting

LOOP = 64  # steps of JAX's loop
TORCH_WARM_UP = 3  # steps that PyTorch must make before it can record one


class Runner(Protocol):
    """A contestant for one setting."""

    def run(self, steps: int) -> None:
        """Make training steps and wait until they are done."""

    def gradient(self) -> list[Array]:
        """Return the summed gradient of the first minibatch at the initial weights.

        Weights and biases of each layer, float64.  Must be called before any step.
        """


class Ours:
    """The step of our program."""

    def __init__(self, setting: Setting, gpu: Gpu, backend: str, precision: str) -> None:
        self._make = partial(
            make_trainer_of, backend, setting, 1, gpu=gpu, matmul_precision=precision
        )
        self._setting = setting
        self._trainer = self._make()
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

    def gradient(self) -> list[Array]:
        """Compute the gradient from a step so large that the weights before it are negligible."""
        rate, network = GAIN * self._setting.batch, self._setting.network
        trainer = self._make(learning_rate=rate)
        warm_up(trainer)
        trainer.reduction.step(1, 0, rate)
        after = layers(network, trainer.engine.parameters)
        before = layers(network, self._setting.parameters())
        pairs = zip(before, after, strict=True)
        return [(b.astype(np.float64) - a.astype(np.float64)) / GAIN for b, a in pairs]


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

    def _gradients(self) -> Any:
        torch, parameters = self._torch, self._parameters
        a = self._x
        for weights, biases in zip(parameters[::2], parameters[1::2], strict=True):
            a = torch.sigmoid(torch.addmm(biases, a, weights))
        loss = 0.5 * ((a - self._y) ** 2).sum() / self._setting.batch
        return torch.autograd.grad(loss, parameters)

    def _step(self) -> None:
        gradients = self._gradients()
        with self._torch.no_grad():
            self._torch._foreach_add_(self._parameters, gradients, alpha=-RATE)

    def _record(self) -> Any:
        """Record a step after steps to warm up."""
        torch = self._torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(TORCH_WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
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

    def gradient(self) -> list[Array]:
        """Compute the gradient in the same way as a step."""
        batch = self._setting.batch
        return [batch * g.double().cpu().numpy() for g in self._gradients()]


class Jax:
    """JAX: 64 steps in one compiled loop, or one by one; the faster way is chosen."""

    def __init__(self, setting: Setting, precision: str) -> None:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        import jax

        if jax.default_backend() != "gpu":
            raise RuntimeError(f"JAX computes on {jax.default_backend()} here")
        self._jax, self._setting = jax, setting
        self._name = {"float32": "highest", "tf32": "tensorfloat32"}[precision]
        first = layers(setting.network, setting.parameters())
        self._data = tuple(jax.numpy.asarray(a) for a in minibatch(setting))
        self._parameters = [jax.numpy.asarray(p) for p in first]
        self._gradient = jax.jit(jax.grad(self._loss))
        # The number of steps is part of the program: XLA then knows how long the loop is.
        self._one, self._many = (jax.jit(self._loop(n), donate_argnums=0) for n in (1, LOOP))
        self._looped: bool | None = None

    def _loss(self, parameters: Any, x: Any, y: Any) -> Any:
        with self._jax.default_matmul_precision(self._name):
            a = x
            for weights, biases in zip(parameters[::2], parameters[1::2], strict=True):
                a = self._jax.nn.sigmoid(a @ weights + biases)
            return 0.5 * self._jax.numpy.sum((a - y) ** 2) / self._setting.batch

    def _loop(self, steps: int) -> Any:
        def step(_: Any, state: Any) -> Any:
            parameters, x, y = state
            gradients = self._jax.grad(self._loss)(parameters, x, y)
            return [p - RATE * g for p, g in zip(parameters, gradients, strict=True)], x, y

        def run(parameters: Any, x: Any, y: Any) -> Any:
            return self._jax.lax.fori_loop(0, steps, step, (parameters, x, y))[0]

        return run

    def _make(self, loops: int, singles: int) -> float:
        start = perf_counter()
        for program, count in ((self._many, loops), (self._one, singles)):
            for _ in range(count):
                self._parameters = program(self._parameters, *self._data)
        self._jax.block_until_ready(self._parameters)
        return perf_counter() - start

    def run(self, steps: int) -> None:
        """Make the steps; the first call times both ways and chooses the faster one."""
        if self._looped is None:
            self._make(1, 1)  # compiles
            self._looped = self._make(1, 0) < self._make(0, LOOP)
        loops = steps // LOOP if self._looped else 0
        self._make(loops, steps - LOOP * loops)

    def gradient(self) -> list[Array]:
        """Compute the gradient in the same way as a step."""
        gradients = self._gradient(self._parameters, *self._data)
        return [self._setting.batch * np.asarray(g, np.float64) for g in gradients]


def minibatch(setting: Setting) -> tuple[Array, Array]:
    """Return the first minibatch for the peers: inputs and one-hot labels."""
    data, rows = setting.dataset, setting.first_rows()
    x = data.train.features[rows].astype(np.float32) * np.float32(data.scale)
    return x, np.eye(10, dtype=np.float32)[data.train.labels[rows]]


def layers(network: Any, flat: Array) -> list[Array]:
    """Return weights and biases of all layers, in order."""
    return [part.copy() for part in network.parts(flat).values()]


def contestants(gpu: Gpu, precision: str) -> dict[str, Callable[[Setting], Runner]]:
    """Return the contestants at a precision, by name."""
    makers: dict[str, Callable[[Setting], Runner]] = {
        "cuda": lambda setting: Ours(setting, gpu, "cuda", precision)
    }
    if precision == "float32":
        makers["cuda-loops"] = lambda setting: Ours(setting, gpu, "cuda-loops", precision)
    makers["PyTorch"] = lambda setting: Torch(setting, precision)
    makers["JAX"] = lambda setting: Jax(setting, precision)
    return makers
