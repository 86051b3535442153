"""PyTensor on the training problem: one C program a step, products by MKL's sgemm.

PyTensor finds no BLAS in a pip environment.  Its default there is Numba, whose untyped
layouts copy the matrices before each product: half as fast as its C code with MKL.
"""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from common import Array, Problem, main


def mkl() -> Path:
    """Return MKL's library, which ``pip install mkl`` puts outside ``site-packages``."""
    files = metadata.files("mkl") or []
    libraries = [Path(f.locate()).resolve() for f in files if f.name.startswith("libmkl_rt.so")]
    if not libraries:
        raise FileNotFoundError("the package mkl has no libmkl_rt.so")
    return libraries[0]


def prepare(options: argparse.Namespace) -> None:
    """Choose PyTensor's linker and BLAS, and a cache for this process alone.

    A shared cache could hold another node's instructions: PyTensor compiles for the
    processor that it finds, and names the folder by the operating system alone.
    """
    # PyTensor warns of a BLAS whose name does not end in .so, but links it.
    logging.getLogger("pytensor.tensor.blas").setLevel(logging.ERROR)
    folder = tempfile.mkdtemp(prefix="pytensor-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = mkl()
    flags = {
        "floatX": "float32",
        "linker": "cvm",
        "base_compiledir": folder,
        "blas__ldflags": f"-L{library.parent} -l:{library.name}",
    }
    os.environ["PYTENSORRC"] = os.devnull
    os.environ["PYTENSOR_FLAGS"] = ",".join(f"{name}={value}" for name, value in flags.items())


def versions(options: argparse.Namespace) -> str:
    """Return the library and its version, and what computes."""
    import pytensor

    if not pytensor.config.cxx:
        raise RuntimeError("PyTensor finds no C++ compiler, without which it is slow")
    return f"PyTensor {pytensor.__version__} (C, MKL {metadata.version('mkl')})"


class PyTensor:
    """The network as a graph; each step is a call of its compiled function."""

    device = "cpu"

    def __init__(self, problem: Problem, options: argparse.Namespace, batch: int) -> None:
        import numpy as np
        import pytensor

        self._batch = batch
        self._rate = np.float32(options.rate)
        self._parameters = [pytensor.shared(a) for layer in problem.layers for a in layer]
        self._inputs, self._targets = (pytensor.shared(a) for a in problem.epoch(0))
        self._step = self._compile()

    def _outputs(self, inputs: Any) -> Any:
        """Return the network's outputs."""
        from pytensor import tensor

        outputs = inputs
        for weights, biases in zip(self._parameters[::2], self._parameters[1::2], strict=True):
            outputs = tensor.sigmoid(outputs @ weights + biases)
        return outputs

    def _compile(self) -> Any:
        """Return the function of a step: from the minibatch's bounds to its sum of squares."""
        import pytensor
        from pytensor import tensor

        start, stop = tensor.lscalars("start", "stop")
        targets = self._targets[start:stop]
        total = tensor.sum((targets - self._outputs(self._inputs[start:stop])) ** 2)
        objective = 0.5 * total / targets.shape[0].astype("float32")
        gradients = pytensor.grad(objective, self._parameters)
        pairs = zip(self._parameters, gradients, strict=True)
        updates = [(p, p - self._rate * g) for p, g in pairs]
        return pytensor.function([start, stop], total, updates=updates, trust_input=True)

    def place(self, inputs: Array, targets: Array) -> None:
        """Put the examples in the shared variables, and the bounds in arrays."""
        import numpy as np

        self._inputs.set_value(inputs, borrow=True)
        self._targets.set_value(targets, borrow=True)
        starts = range(0, len(inputs), self._batch)
        # A slice may end past the last row: that minibatch is smaller.
        self._bounds = [(np.array(start), np.array(start + self._batch)) for start in starts]
        self._examples = len(inputs)

    def train(self) -> None:
        """Make the steps of an epoch."""
        self._totals = [self._step(start, stop) for start, stop in self._bounds]

    def loss(self) -> float:
        """Return the mean of ``|y - a|^2`` over the examples of the epoch."""
        return sum(float(total) for total in self._totals) / self._examples


if __name__ == "__main__":
    sys.exit(main(prepare, versions, PyTensor, devices=("cpu",)))
