"""PyTensor: one C program a step, products by MKL's sgemm.

PyTensor finds no BLAS in a pip environment.  Its default there is Numba, which copies the
matrices before each product.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from common import Layers, MissingError, Problem, serve


def mkl() -> Path:
    """Return MKL's library, which ``pip install mkl`` puts outside ``site-packages``."""
    for file in metadata.files("mkl") or []:
        if file.name.startswith("libmkl_rt.so"):
            return Path(str(file.locate())).resolve()
    raise MissingError("the package mkl has no libmkl_rt.so")


class PyTensor:
    """PyTensor with as many threads of MKL as the environment has set."""

    def open(self, request: dict[str, Any]) -> str:
        """Choose linker, BLAS and a cache for this process alone, and import PyTensor."""
        # PyTensor warns of a BLAS whose name does not end in .so, but links it.
        logging.getLogger("pytensor.tensor.blas").setLevel(logging.ERROR)
        folder, library = tempfile.mkdtemp(prefix="pytensor-"), mkl()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        flags = ("floatX=float32", "linker=cvm", f"base_compiledir={folder}")
        linked = f"blas__ldflags=-L{library.parent} -l:{library.name}"
        os.environ["PYTENSOR_FLAGS"] = ",".join((*flags, linked))
        os.environ["PYTENSORRC"] = os.devnull
        import pytensor

        if not pytensor.config.cxx:
            raise MissingError("PyTensor finds no C++ compiler, without which it is slow")
        return f"PyTensor {pytensor.__version__} (C, MKL {metadata.version('mkl')})"

    def model(self, problem: Problem) -> Graph:
        """Return a model with the minibatches as arrays."""
        return Graph(problem)


class Graph:
    """The network as a graph; each step is a call of its compiled function."""

    def __init__(self, problem: Problem) -> None:
        import pytensor

        self._ring = list(zip(problem.inputs, problem.targets, strict=True))
        self._parameters = [pytensor.shared(a) for layer in problem.layers for a in layer]
        self._step = self._compiled()

    def _compiled(self) -> Any:
        """Return the function of a step: of inputs, targets and rate."""
        import pytensor
        from pytensor import tensor

        inputs, targets, rate = tensor.fmatrix("x"), tensor.fmatrix("y"), tensor.fscalar("rate")
        outputs = inputs
        for weights, biases in zip(self._parameters[::2], self._parameters[1::2], strict=True):
            outputs = tensor.sigmoid(outputs @ weights + biases)
        total = tensor.sum((targets - outputs) ** 2)
        loss = 0.5 * total / targets.shape[0].astype("float32")
        pairs = zip(self._parameters, pytensor.grad(loss, self._parameters), strict=True)
        updates = [(parameter, parameter - rate * slope) for parameter, slope in pairs]
        return pytensor.function([inputs, targets, rate], [], updates=updates, trust_input=True)

    def put(self, layers: Layers) -> None:
        """Set the weights."""
        arrays = [array for layer in layers for array in layer]
        for parameter, array in zip(self._parameters, arrays, strict=True):
            parameter.set_value(array)

    def get(self) -> Layers:
        """Return the weights."""
        values = [parameter.get_value() for parameter in self._parameters]
        return list(zip(values[::2], values[1::2], strict=True))

    def train(self, first: int, steps: int, rate: float) -> None:
        """Make steps: a Python loop calls the compiled function."""
        import numpy as np

        array = np.array(rate, np.float32)
        for number in range(first, first + steps):
            self._step(*self._ring[number % len(self._ring)], array)


if __name__ == "__main__":
    sys.exit(serve(PyTensor()))
