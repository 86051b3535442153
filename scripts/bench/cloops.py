"""The loops of backend ``loops`` in C (``loops.c``) as a plan, to compare ``loops`` with."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.workspace import Workspace

SOURCE = Path(__file__).with_name("loops.c")


def compiler() -> str | None:
    """Return the C compiler, None if there is none."""
    return shutil.which("cc")


def compiler_version() -> str:
    """Return the first line of the compiler's ``--version``, "" without a compiler."""
    cc = compiler()
    if cc is None:
        return ""
    done = subprocess.run([cc, "--version"], capture_output=True, text=True, timeout=60)
    return done.stdout.split("\n", 1)[0]


def build(flags: tuple[str, ...]) -> Any:
    """Compile ``loops.c`` with ``flags`` into a temporary folder and load it."""
    cc = compiler()
    if cc is None:
        raise FileNotFoundError("no C compiler: cc is not on the path")
    with tempfile.TemporaryDirectory(prefix="hpcpgd-bench-") as folder:
        library = Path(folder) / "loops.so"
        command = [cc, *flags, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-lm"]
        subprocess.run(command, check=True, timeout=120)
        return ctypes.CDLL(str(library))  # stays mapped after its file is removed


def _address(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class Plan:
    """Forward and backward propagation in C: float32, sigmoid, squared error, one thread.

    Parameters
    ----------
    capacity : int
        Rows that the buffers hold.
    flags : tuple of str
        Flags of the C compiler.
    """

    def __init__(self, network: Network, capacity: int, flags: tuple[str, ...]) -> None:
        functions = (network.activation, network.output_activation, network.loss)
        if network.dtype != "float32" or functions != ("sigmoid", "sigmoid", "mse"):
            raise ValueError(f"loops.c has float32, sigmoid and mse only, not {network}")
        self.network = network
        self.work = Workspace(network, capacity, 1)
        self._library = build(flags)

    def gradient(self, parameters: Array, count: int, out: Array, add: bool) -> None:
        """Sum the gradient over the first ``count`` rows into ``out``, and add their scores."""
        work = self.work
        if not add:
            out[:] = 0
        self._library.gradient(
            _address(work.table), ctypes.c_int64(self.network.depth), _address(parameters),
            _address(work.activations), _address(work.labels), _address(work.predicted),
            _address(work.totals), _address(work.deltas), ctypes.c_int64(count), _address(out),
        )  # fmt: skip

    def evaluate(self, parameters: Array, count: int) -> None:
        """Predict the first ``count`` rows and add their loss and correct answers to the totals."""
        work = self.work
        self._library.evaluate(
            _address(work.table), ctypes.c_int64(self.network.depth), _address(parameters),
            _address(work.activations), _address(work.labels), _address(work.predicted),
            _address(work.totals), ctypes.c_int64(count),
        )  # fmt: skip

    def close(self) -> None:
        """Do nothing: this plan has no threads."""
