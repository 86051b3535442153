"""PyTorch: ``pytorch.py eager``, ``compile``, ``ddp``, ``autocast`` or ``medium``.

``autocast`` is ``compile`` with ``max-autotune`` and products of bfloat16.  ``medium`` is
``compile`` with the precision of this name, which allows bfloat16 inside products of float32.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

from common import Layers, MissingError, Problem, serve


def check_compiler() -> None:
    """Raise ``MissingError`` if ``torch.compile`` cannot compile here."""
    import torch

    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise MissingError("torch.compile needs a C++ compiler (g++, or what CXX names)")
    try:
        torch.compile(lambda x: x + x * x)(torch.ones(64))
    except Exception as error:  # for example, if Python's headers are missing
        raise MissingError(f"torch.compile fails here ({type(error).__name__})") from error


class PyTorch:
    """PyTorch in one form, see above."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._rank, self._ranks = 0, 1

    def open(self, request: dict[str, Any]) -> str:
        """Import PyTorch, and connect to the other process of DDP."""
        # Compile in this process: worker processes would stay and take memory.
        os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        # Otherwise gloo looks up the host's name, which fails on some machines.
        loopback = "lo0" if sys.platform == "darwin" else "lo"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        import torch

        torch.set_num_threads(request["threads"])
        if self._form == "medium":
            torch.set_float32_matmul_precision("medium")
        if self._form not in ("eager", "ddp"):
            check_compiler()
        if self._form == "ddp":
            self._join(request)
        return f"PyTorch {torch.__version__}"

    def _join(self, request: dict[str, Any]) -> None:
        from torch import distributed

        if not (distributed.is_available() and distributed.is_gloo_available()):
            raise MissingError("this PyTorch was built without gloo")
        self._rank, self._ranks = request["rank"], request["ranks"]
        distributed.init_process_group(
            "gloo",
            init_method=f"file://{request['store']}",
            rank=self._rank,
            world_size=self._ranks,
        )

    def model(self, problem: Problem) -> Modules | Compiled:
        """Return a model with this rank's part of each minibatch as tensors."""
        count = problem.inputs.shape[1] // self._ranks
        rows = slice(self._rank * count, (self._rank + 1) * count)
        part = Problem(
            problem.layers, problem.inputs[:, rows], problem.targets[:, rows], problem.rate
        )
        if self._form in ("eager", "ddp"):
            return Modules(part, self._ranks > 1)
        return Compiled(part, self._form == "autocast")


def tensors(problem: Problem) -> list[tuple[Any, Any]]:
    """Return inputs and targets of each minibatch, as copies."""
    import torch

    pairs = zip(problem.inputs, problem.targets, strict=True)
    return [tuple(torch.tensor(array) for array in pair) for pair in pairs]


def half_square(outputs: Any, targets: Any) -> Any:
    """Return half the squared error, its mean over the minibatch."""
    import torch

    total = torch.nn.functional.mse_loss(outputs, targets, reduction="sum")
    return total * (0.5 / len(targets))


class Modules:
    """The network as modules of ``torch.nn``, autograd and the fused SGD; with DDP or without."""

    def __init__(self, problem: Problem, distributed: bool) -> None:
        import torch

        modules: list[Any] = []
        for weights, _ in problem.layers:
            modules += [torch.nn.Linear(*weights.shape), torch.nn.Sigmoid()]
        network = torch.nn.Sequential(*modules)
        self._linear = modules[::2]
        self.put(problem.layers)
        self._ring = tensors(problem)
        self._optimizer = torch.optim.SGD(network.parameters(), lr=problem.rate, fused=True)
        self._network = network
        if distributed:
            # Averages the gradients of the ranks, whose parts have equally many rows.
            self._network = torch.nn.parallel.DistributedDataParallel(
                network, gradient_as_bucket_view=True
            )

    def put(self, layers: Layers) -> None:
        """Set the weights; PyTorch stores them as (fan_out, fan_in)."""
        import torch

        with torch.no_grad():
            for linear, (weights, biases) in zip(self._linear, layers, strict=True):
                linear.weight.copy_(torch.tensor(weights.T))
                linear.bias.copy_(torch.tensor(biases))

    def get(self) -> Layers:
        """Return the weights."""
        return [(m.weight.detach().numpy().T, m.bias.detach().numpy()) for m in self._linear]

    def train(self, first: int, steps: int, rate: float) -> None:
        """Make steps; each operation is dispatched separately."""
        self._optimizer.param_groups[0]["lr"] = rate
        for number in range(first, first + steps):
            x, y = self._ring[number % len(self._ring)]
            self._optimizer.zero_grad()
            half_square(self._network(x), y).backward()
            self._optimizer.step()


class Compiled:
    """The whole step, gradient and update, as one function for ``torch.compile``.

    This is faster than compiled ``torch.nn`` modules with a separate optimizer.
    """

    def __init__(self, problem: Problem, autocast: bool) -> None:
        import torch

        self._ring = tensors(problem)
        mode = "max-autotune" if autocast else "default"
        # Otherwise a second batch size would get code for any size, which is slower.
        self._step = torch.compile(self._make_step(autocast), dynamic=False, mode=mode)
        self.put(problem.layers)

    @staticmethod
    def _make_step(autocast: bool) -> Any:
        import torch

        def loss(layers: Layers, x: Any, y: Any) -> Any:
            a = x
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                for weights, biases in layers:
                    a = torch.sigmoid(torch.addmm(biases, a, weights))
            return half_square(a.float(), y)

        def step(layers: Layers, x: Any, y: Any, rate: Any) -> None:
            gradient = torch.func.grad(loss)(layers, x, y)
            for pair, slopes in zip(layers, gradient, strict=True):
                for parameter, slope in zip(pair, slopes, strict=True):
                    parameter.sub_(rate * slope)

        return step

    def put(self, layers: Layers) -> None:
        """Set the weights."""
        import torch

        self._layers = [(torch.tensor(w), torch.tensor(b)) for w, b in layers]

    def get(self) -> Layers:
        """Return the weights."""
        return [(weights.numpy(), biases.numpy()) for weights, biases in self._layers]

    def train(self, first: int, steps: int, rate: float) -> None:
        """Make steps: a Python loop calls the compiled step."""
        import torch

        tensor_rate = torch.tensor(rate)  # a Python number would become a constant in the code
        with torch.no_grad():
            for number in range(first, first + steps):
                x, y = self._ring[number % len(self._ring)]
                self._step(self._layers, x, y, tensor_rate)


if __name__ == "__main__":
    sys.exit(serve(PyTorch(sys.argv[1])))
