"""Check that ``bf16x6`` has the accuracy of float32, and that ``bf16`` learns as well.

    python -m scripts.check_precision [--quick] [--output FILE.json]

Needs a processor with AMX, mnist-5k in $HPCPGD_DATA, and Fashion-MNIST.  On random networks and
minibatches each layer's gradient is compared with float64, beside that of float32.  Then both
networks of the paper are trained in all precisions, and weights are compared after each epoch.
With the paper's functions, ``bf16x6`` must stay near float32.  With ReLU there is no such
bound: the first unit that is on in one run and off in the other moves all weights, at any time.
The exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from hpcpgd.cli.launcher import guarded
from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import NETWORKS, PAPER_FUNCTIONS, RunConfig
from hpcpgd.engines.parameters import initial_parameters, make_network
from hpcpgd.errors import UnavailableError
from hpcpgd.kernels.schedule.phases import divided
from hpcpgd.kernels.tiles.amx import refusal
from hpcpgd.machine import jit_cache
from hpcpgd.machine.resources import Resources, find_blas
from hpcpgd.parallel import mpi
from hpcpgd.train.load_dataset import load_dataset
from hpcpgd.train.planning import make_trainer
from hpcpgd.train.warmup import warm_up
from scripts import findings
from tests.helpers.problems import FUNCTIONS, Problem

# Every tenth network is small and has a full batch of many rows.
TRIALS, FULL, FULL_ROWS = 50, 10, 50_000
BOUNDS = {"largest": 1.25, "mean": 1.0, "farther": 1.5, "accuracy": 0.01}
HIDDEN, SCALE = ("sigmoid", "tanh", "relu", "linear", "gelu"), 1 / 255
# With digits as many steps as with Fashion-MNIST.
BATCH, EPOCHS = 128, {"digits": 300, "mnist-5k": 20, "fashion-mnist": 8}
PAPER, RELU = "the paper's", "ReLU"
PRECISIONS = ("float64", "float32", "bf16", "bf16x6")


def draw(number: int) -> tuple[Problem, float | None]:
    """Return a random problem that float32 holds exactly, and the factor if its rows are bytes."""
    random = np.random.default_rng(number)
    full, depth = number % FULL == FULL - 1, random.integers(2, 5)
    widths = 2 ** random.uniform(3, [7 if full else 10] * depth + [7])
    rows = FULL_ROWS if full else int(2 ** random.uniform(0, 14))
    _, output, loss = random.choice(FUNCTIONS)
    functions = ",".join(random.choice(HIDDEN, depth - 1)), output, loss
    problem = Problem(tuple(map(int, widths)), rows, functions)
    for weights, biases in problem.parts:
        weights[:] = np.float32(weights * np.sqrt(2 / sum(weights.shape)) / 0.4)
        biases[:] = np.float32(biases)
    problem.x[:] = np.float32(problem.x)
    if number % 2:
        return problem, None
    problem.x[:] = random.integers(0, 256, problem.x.shape) * SCALE
    return problem, SCALE


def errors(number: int) -> dict[str, Any]:
    """Return a random problem, and each layer's relative error in float32 and ``bf16x6``."""
    problem, scale = draw(number)
    rows, found = len(problem.x), {}
    exact, _ = problem.gradient(problem.plan("reference", "float64"))
    schedule = divided(problem.network("float32"), rows, 1)
    for name in ("float32", "bf16x6"):
        with closing(problem.scheduled("gemm", "float32", schedule, name, scale)) as plan:
            if scale and name == "bf16x6":
                plan.work.inputs[:rows] = np.round(problem.x / scale)
            parts, _ = problem.gradient(plan)
        found[name] = [distance(a, b) for a, b in zip(parts[::2], exact[::2], strict=True)]
    words = "-".join(map(str, problem.widths)), *problem.functions
    return {"network": " ".join(words), "rows": rows, "bytes": scale is not None, **found}


def distance(found: Any, expected: Any) -> float:
    """Return the Frobenius norm of the difference, relative to ``expected``."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def train(config: RunConfig) -> tuple[list[Any], list[float], float]:
    """Return the weights and the validation accuracy after each epoch, and the test accuracy."""
    dataset, weights = load_dataset(config), list[Any]()
    network = make_network(config, dataset.n_in, dataset.n_out)
    flat = initial_parameters(network, config.seed)
    common = mpi.MPI.COMM_SELF, config, dataset, network, flat
    with closing(make_trainer(*common, Resources(1, False, find_blas("gemm")))) as trainer:

        def keep(number: int, epoch: Any) -> None:
            weights.append(np.concatenate([p.ravel() for p in network.parts(flat).values()]))

        warm_up(trainer)
        trainer.run(config.epochs, keep)
        accuracies = trainer.history.column("validation_accuracy")
        return weights, accuracies.tolist(), trainer.test().accuracy


def learn(
    functions: str, data: str, hidden: tuple[int, ...], seed: int, epochs: int
) -> dict[str, Any]:
    """Train in every precision; return distances after each epoch, and accuracies."""
    flags = {"dataset": data, "hidden": hidden, "seed": seed, "epochs": epochs}
    runs, common = {}, {"batch_size": BATCH, "reduction": "allreduce", **flags}
    common |= PAPER_FUNCTIONS if functions == PAPER else {}
    for name in PRECISIONS:
        kind = {"matmul_precision": name, "dtype": name if name == "float64" else "float32"}
        runs[name] = train(resolve({}, {**common, **kind}))
    result: dict[str, Any] = flags | {"hidden": ",".join(map(str, hidden)), "functions": functions}
    for one, other in (("float32", "float64"), ("bf16x6", "float32"), ("bf16", "float32")):
        pairs = zip(runs[one][0], runs[other][0], strict=True)
        result[f"{one} from {other}"] = [distance(a, b) for a, b in pairs]
    result["validation_accuracy"] = {name: run[1] for name, run in runs.items()}
    return {**result, "test_accuracy": {name: run[2] for name, run in runs.items()}}


def judge(trials: list[dict[str, Any]], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the bounds apply to, and which bounds are missed."""
    ratios = np.concatenate([np.divide(t["bf16x6"], t["float32"]) for t in trials])
    farther: dict[str, list[Any]] = {PAPER: [], RELU: []}
    for run in runs:
        ratio = np.divide(run["bf16x6 from float32"], run["float32 from float64"])
        farther[run["functions"]].extend(ratio)
    tests = [run["test_accuracy"] for run in runs]
    found = {
        "largest": float(ratios.max()), "mean": float(np.exp(np.log(ratios).mean())),
        "farther": max(farther[PAPER]),
        "accuracy": max(abs(test["bf16"] - test["float32"]) for test in tests),
    }  # fmt: skip
    missed = [name for name, value in found.items() if not value <= BOUNDS[name]]
    above = [ratio > BOUNDS["farther"] for ratio in farther[RELU]]
    return {
        **found, "layers": len(ratios), "bounds": BOUNDS, "missed": missed,
        "relu_epochs": len(above), "relu_epochs_farther": sum(map(int, above)),
        "relu_farther": max(farther[RELU], default=0.0),
    }  # fmt: skip


def check(quick: bool, path: Path | None) -> int:
    """Measure, write the results and return the exit code."""
    if refusal():
        raise UnavailableError(refusal())
    jit_cache.share_folder(mpi.join(mpi.start()))
    threadpool_limits(1, user_api="blas")
    choices = product((PAPER, RELU), EPOCHS, NETWORKS.values(), range(3))
    cells = [(*choice, EPOCHS[choice[1]]) for choice in choices]
    trials = [errors(number) for number in range(3 if quick else TRIALS)]
    runs = [learn(*cell) for cell in ([(PAPER, "digits", (16,), 0, 1)] if quick else cells)]
    verdict = {"batch": BATCH, **judge(trials, runs)}
    found = findings.about("check_precision") | verdict | {"errors": trials, "learning": runs}
    findings.write(path or findings.default_path("check_precision"), found)
    print(*(f"{name}: {value}" for name, value in verdict.items()), sep="\n")
    mpi.finish()
    return 1 if verdict["missed"] else 0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="three networks, one short training")
    default = "default: scripts/results/MACHINE-DATE/check_precision.json"
    parser.add_argument("--output", type=Path, help=default)
    options = parser.parse_args(argv)
    return guarded("check_precision", lambda: check(options.quick, options.output))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
