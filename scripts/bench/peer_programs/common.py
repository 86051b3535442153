"""The common part of the peer programs: the protocol and the problem.

A peer reads requests, lines of JSON, from its standard input, and answers each with a line:

    {"op": "open", "threads": 2, "rank": 0, "ranks": 1, "store": "FILE"}
        {"software": "JAX 0.10.2"} or {"missing": "what keeps it from running here"}
    {"op": "load", "problem": "KEY", "path": "PROBLEM.npz", "rate": 0.01}
        {}
    {"op": "first_step", "problem": "KEY", "path": "WEIGHTS.npz", "rate": 134217728.0}
        {}, once it has written the weights after that step; the initial ones are restored
    {"op": "run", "problem": "KEY", "steps": 50}
        {"seconds": 0.21, "cpu": 0.42}, once its threads sleep

or {"error": "one line"} to any of them.  It sleeps while it waits for input, and ends when its
input ends.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from time import perf_counter, process_time, sleep
from typing import Any, Protocol

Array = Any  # NumPy's, which is not imported here: a library may lack it or import it first
Layers = list[tuple[Array, Array]]
REST = 0.005  # seconds between two readings of the processor time
LOOKS = 100  # readings at most


class MissingError(Exception):
    """Why a library cannot run on this machine; the benchmark continues without it."""


@dataclass(frozen=True)
class Problem:
    """The problem that all peers train.

    Attributes
    ----------
    layers : list of (ndarray, ndarray)
        Initial weights (fan_in, fan_out) and biases (fan_out,) of each layer, float32.
    inputs, targets : ndarray of float32, shape (minibatches, B, n)
        Gathered and scaled; step k takes minibatch k modulo the number of minibatches.
    rate : float
        The step is ``rate`` times the mean gradient of ``|y - a|^2 / 2``.
    """

    layers: Layers
    inputs: Array
    targets: Array
    rate: float


class Model(Protocol):
    """A network of a library, with its minibatches."""

    def put(self, layers: Layers) -> None:
        """Set the weights."""

    def get(self) -> Layers:
        """Return the weights."""

    def train(self, first: int, steps: int, rate: float) -> None:
        """Make steps ``first``, ``first + 1``, …; return when the last update is done."""


class Library(Protocol):
    """A library that can train."""

    def open(self, request: dict[str, Any]) -> str:
        """Import the library for the requested threads and ranks; return its name and version.

        Raises
        ------
        ImportError, MissingError
            If it cannot run here.
        """

    def model(self, problem: Problem) -> Model:
        """Return a model, with minibatches in the library's format."""


def read_problem(path: str, rate: float) -> Problem:
    """Read a problem that the benchmark has written."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        depth = sum(name.startswith("weights") for name in file)
        layers = [(file[f"weights{l}"], file[f"biases{l}"]) for l in range(1, depth + 1)]
        return Problem(layers, file["inputs"], file["targets"], rate)


def settle() -> None:
    """Wait until no thread of this process is busy, for half a second at most.

    Threads of OpenBLAS and OpenMP spin for up to tens of ms before they sleep, on cores that
    another contestant uses next.
    """
    for _ in range(LOOKS):
        before = process_time()
        sleep(REST)
        if process_time() - before < 0.1 * REST:
            return


class Server:
    """Answers requests with a library, and keeps the problems that it has loaded."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._problems: dict[str, tuple[Problem, Model]] = {}
        self._made: dict[str, int] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Execute one request and return the answer."""
        operations = {
            "open": self._open,
            "load": self._load,
            "first_step": self._first_step,
            "run": self._run,
        }
        return operations[request["op"]](request)

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"software": self._library.open(request)}
        except ImportError as error:  # its message may name a folder
            return {"missing": f"{error.name or 'the library'} cannot be imported"}
        except MissingError as error:
            return {"missing": str(error)}

    def _load(self, request: dict[str, Any]) -> dict[str, Any]:
        problem = read_problem(request["path"], request["rate"])
        self._problems[request["problem"]] = problem, self._library.model(problem)
        self._made[request["problem"]] = 0
        return {}

    def _first_step(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make one step like those timed, which also compiles it; write its layers."""
        import numpy as np

        problem, model = self._problems[request["problem"]]
        model.put(problem.layers)
        model.train(0, 1, request["rate"])
        arrays: dict[str, Array] = {}
        for number, (weights, biases) in enumerate(model.get(), 1):
            arrays |= {f"weights{number}": weights, f"biases{number}": biases}
        np.savez(request["path"], **arrays)
        model.put(problem.layers)
        return {}

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        key, steps = request["problem"], request["steps"]
        problem, model = self._problems[key]
        cpu, start = process_time(), perf_counter()
        model.train(self._made[key], steps, problem.rate)
        seconds = perf_counter() - start
        self._made[key] += steps
        settle()
        return {"seconds": seconds, "cpu": process_time() - cpu}


def serve(library: Library) -> int:
    """Answer requests until there are no more; return the exit code."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error
    server = Server(library)
    for line in sys.stdin:
        try:
            answer = server.answer(json.loads(line))
        except Exception as error:  # whatever a library raises
            text = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {text}"}
        print(json.dumps(answer), file=answers, flush=True)
    return 0
