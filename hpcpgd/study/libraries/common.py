"""What the programs of this folder share: the command line, the problem, the timed epochs.

Only the standard library is imported here: BLAS libraries choose their threads when they are
loaded, so the cores must be set before NumPy is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol
from zipfile import BadZipFile

Array = Any  # of NumPy, which must not be imported yet
TOLERANCE = 1e-4  # of a loss, relative: rounding is about 1e-6, a wrong step far more
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FAILURES = (ImportError, OSError, ValueError, KeyError, RuntimeError, BadZipFile)


@dataclass(frozen=True)
class Problem:
    """What is trained: data, the order of the rows, initial parameters.

    Attributes
    ----------
    features : ndarray, shape (n, n_in)
        ``uint8`` or float; the input is ``features * scale + offset`` in float32.
    labels : ndarray of int, shape (n,)
    order : ndarray of int, shape (epochs, n)
    layers : list of (ndarray, ndarray)
        Weights (fan_in, fan_out) and biases (fan_out,) of each layer, float32.
    """

    features: Array
    labels: Array
    classes: int
    scale: float
    offset: float
    order: Array
    layers: list[tuple[Array, Array]]

    def epoch(self, number: int) -> tuple[Array, Array]:
        """Return inputs and one-hot targets of epoch ``number`` (from 0), in its order."""
        import numpy as np

        rows = self.order[number]
        inputs = self.features[rows].astype(np.float32)
        inputs = inputs * np.float32(self.scale) + np.float32(self.offset)
        return inputs, np.eye(self.classes, dtype=np.float32)[self.labels[rows]]


class Contestant(Protocol):
    """A library that trains the problem.

    Attributes
    ----------
    device : str
        ``cpu``, or the GPU's name.
    """

    device: str

    def place(self, inputs: Array, targets: Array) -> None:
        """Put the examples of an epoch, in order, where the steps read them."""

    def train(self) -> None:
        """Make the steps of that epoch; return when the last update is done."""

    def loss(self) -> float:
        """Return the mean of ``|y - a|^2`` over the examples of that epoch."""


def at_least(least: int) -> Callable[[str], int]:
    """Return a function that reads an integer of ``least`` or more."""

    def read(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: expected {least} or more")
        return int(text)

    read.__name__ = "integer"  # argparse names it where the text is none
    return read


def parse(devices: tuple[str, ...]) -> argparse.Namespace:
    """Return the options."""
    # Without its usage line an error is one line.
    parser = argparse.ArgumentParser(allow_abbrev=False, usage=argparse.SUPPRESS)
    parser.add_argument("problem", type=Path, nargs="?", help="PROBLEM.npz")
    parser.add_argument("expected", type=Path, nargs="?", help="EXPECTED.json")
    parser.add_argument("output", type=Path, nargs="?", help="OUTPUT.json")
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate (0.01)")
    # The first epoch compiles and is not timed.
    parser.add_argument("--epochs", type=at_least(2), default=3, help="2 or more (3)")
    parser.add_argument("--threads", type=at_least(1), default=1, help="cores to use (1)")
    parser.add_argument("--device", choices=devices, default="cpu")
    parser.add_argument("--cpu-model", default="", help="this machine's, for the result")
    parser.add_argument("--versions", action="store_true", help="print the library's and stop")
    options = parser.parse_args()
    if not options.versions and options.output is None:
        parser.error("PROBLEM.npz, EXPECTED.json and OUTPUT.json are needed")
    return options


def confine(threads: int) -> None:
    """Limit this process to ``threads`` cores; to be called before NumPy is imported."""
    cores = sorted(os.sched_getaffinity(0))
    if threads > len(cores):
        raise ValueError(f"--threads {threads}: this process may use {len(cores)} cores")
    os.sched_setaffinity(0, cores[:threads])
    os.environ.update(dict.fromkeys(THREADS, str(threads)))


def read_problem(path: Path, epochs: int) -> Problem:
    """Read the problem and check that it has so many epochs."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        depth = sum(name.startswith("weights") for name in file)
        layers = [(file[f"weights{l}"], file[f"biases{l}"]) for l in range(1, depth + 1)]
        classes, scale, offset = (file[name].item() for name in ("classes", "scale", "offset"))
        problem = Problem(
            file["features"], file["labels"], classes, scale, offset, file["order"], layers
        )
    if epochs > len(problem.order):
        raise ValueError(f"--epochs {epochs}: {path} has {len(problem.order)}")
    return problem


def check(loss: float, expected: float, epoch: int) -> None:
    """Compare the loss of an epoch (from 1) with the expected one."""
    if not abs(loss - expected) <= TOLERANCE * abs(expected):  # NaN is wrong, too
        raise ValueError(f"loss {loss:.6g} after epoch {epoch}, expected {expected:.6g}")


def race(
    contestant: Contestant, problem: Problem, expected: list[float]
) -> tuple[list[float], list[float]]:
    """Train and return the losses and the seconds of the epochs, the first one's too."""
    losses, seconds = [], []
    for number, wanted in enumerate(expected):
        # Gathered, scaled and placed before the clock starts, to the advantage of the library.
        contestant.place(*problem.epoch(number))
        start = perf_counter()
        contestant.train()
        seconds.append(perf_counter() - start)
        losses.append(contestant.loss())
        check(losses[-1], wanted, number + 1)
    return losses, seconds


def write(path: Path, result: dict[str, Any]) -> None:
    """Write the result, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def run(make: Callable[..., Contestant], software: str, options: argparse.Namespace) -> None:
    """Time the library with each minibatch size and write the results."""
    problem = read_problem(options.problem, options.epochs)
    result: dict[str, Any] = {
        "software": software, "threads": options.threads, "hostname": platform.node(),
        "cpu_model": options.cpu_model,
    }  # fmt: skip
    losses, seconds = {}, {}
    for batch, expected in json.loads(options.expected.read_text()).items():
        contestant = make(problem, options, int(batch))
        losses[batch], taken = race(contestant, problem, expected[: options.epochs])
        seconds[batch] = taken[1:]  # the first epoch compiles
        result["device"] = contestant.device
    write(options.output, {**result, "losses": losses, "epoch_seconds": seconds})


def main(
    prepare: Callable[[argparse.Namespace], None],
    versions: Callable[[argparse.Namespace], str],
    make: Callable[..., Contestant],
    devices: tuple[str, ...] = ("cpu", "gpu"),
) -> int:
    """Run the program of one library and return the exit code.

    Parameters
    ----------
    prepare : callable
        Sets the environment for the import of the library.
    versions : callable
        Imports the library, and names its version if it can run on the chosen device.
    make : callable
        Makes the contestant of a problem, the options and a minibatch size.
    devices : tuple of str
        Where the library can compute.
    """
    try:
        options = parse(devices)
        confine(options.threads)
        prepare(options)
        software = versions(options)
        if options.versions:
            print(software)
        else:
            run(make, software, options)
    except FAILURES as error:
        print(f"{Path(sys.argv[0]).name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
