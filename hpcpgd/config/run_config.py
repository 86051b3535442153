"""The configuration of a run: one frozen dataclass, its options, its TOML.

Flags override ``--config FILE.toml`` (table ``[train]``), which overrides the defaults.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hpcpgd.config.option_types import (
    Choice,
    Choices,
    Duration,
    Flag,
    Integer,
    Integers,
    Kind,
    Real,
    Text,
)
from hpcpgd.config.rate_schedule import SCHEDULES
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.data import check_name
from hpcpgd.kernels.backends.registry import BACKENDS, TILE_PARTS
from hpcpgd.kernels.core.optimisers import OPTIMISERS

NETWORKS = {"net-1h": (1024,), "net-2h": (1024, 1024)}
PAPER_FUNCTIONS: dict[str, Any] = {
    "activation": "sigmoid",
    "output_activation": "sigmoid",
    "loss": "mse",
}
# Options that go together under one name; other options that are given override them.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "dataset": "mnist", "hidden": NETWORKS["net-1h"], **PAPER_FUNCTIONS, "batch_size": 128,
        "learning_rate": 0.1, "epochs": 20,
    },
}  # fmt: skip
# Keys that are not fields: each stands for values of other options.
NAMES: dict[str, tuple[str, ...]] = {"network": tuple(NETWORKS), "recipe": tuple(RECIPES)}
SHARDS = 4
TASKS = ("classification", "regression")
ACTIVATIONS = ("sigmoid", "tanh", "relu", "linear")
PRECISIONS = ("float32", "float64", "tf32", *TILE_PARTS)
OF_PRODUCTS = {
    word: f"; for products: --matmul-precision {name}"
    for word, name in (("bfloat16", "bf16"), *((name, name) for name in PRECISIONS[2:]))
}
INITS = ("glorot", "he")
MAX_WIDTH = 2**24
CHECKPOINT_EVERY = Duration(steps=True, word="never")
LIMIT = Duration(word="none")
# Phases in which ranks wait for each other, each with its limit in multiples of --hang-limit.
HANG_TIMES = {"loading": 6, "compiling": 6, "step": 1, "checkpoint": 3}


def _default_dtypes() -> str:
    """Return, for help, which backends have another default dtype than most."""
    others = [name for name, traits in BACKENDS.items() if traits.precisions[0] != "float32"]
    return f"float64 for {' and '.join(others)}, else float32"


def _option(default: Any, kind: Kind, text: str) -> Any:
    return field(default=default, metadata={"kind": kind, "help": text})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides what a run computes and where it writes the result.

    Each field but the last two is a flag (``--batch-size``) and a TOML key (``batch_size``).
    """

    dataset: str = _option(
        "digits",
        Text("NAME|PATH", validate=check_name),
        "digits, mnist, fashion-mnist, synthetic:ROWSxINxOUT, a folder's name in "
        "$HPCPGD_DATA, or a path: .npz, .h5, a text table (.csv, .tsv, .txt, .data) or a "
        "folder of IDX files",
    )
    task: str = _option(
        "classification",
        Choice(TASKS),
        "whether labels are classes, or numbers to predict; regression: output linear and loss mse",
    )
    label_column: str = _option(
        "auto",
        Text("auto|first|last|NAME|N"),
        "for a text file: the column of the labels, as first, last, its name in the header or its "
        "number from 1; for regression several, separated by commas; auto: by its name, else the "
        "only one with words, else the last",
    )
    standardise: bool = _option(
        False,
        Flag(),
        "give each column, and each target of a regression, mean 0 and deviation 1 over the "
        "training rows",
    )
    train_rows: int | str = _option(
        "all", Integer(1, "all"), "train on N rows, drawn by the seed; validation rows are others"
    )
    test_fraction: float | str = _option(
        "auto",
        Real(0, 1, include_above=True, word="auto"),
        "fraction of the rows to hold out as the test set, if the data have none "
        "(auto: 0.2 for text files, else 0)",
    )
    hidden: tuple[int, ...] = _option((32,), Integers(1, MAX_WIDTH), "widths of the hidden layers")
    activation: str = _option(
        "relu",
        Choices((*ACTIVATIONS, "gelu")),
        "function of the hidden layers, or one for each, separated by commas",
    )
    output_activation: str = _option(
        "softmax", Choice((*ACTIVATIONS, "softmax")), "function of the output layer"
    )
    loss: str = _option(
        "cross-entropy",
        Choice(("mse", "cross-entropy")),
        "mse, the paper's, is the mean of |y - a|^2; its outputs are sigmoid, not softmax",
    )
    init: str = _option(
        "glorot",
        Choice(INITS),
        "limit of the uniform initial weights: sqrt(6 / (fan_in + fan_out)), or he: "
        "sqrt(6 / fan_in)",
    )
    batch_size: int | str = _option(
        32, Integer(1, "full"), "rows of a minibatch over all ranks; full: batch gradient descent"
    )
    epochs: int = _option(30, Integer(1), "passes over the training rows")
    max_steps: int | str = _option(
        "none", Integer(1, "none"), "end after N steps, also within an epoch"
    )
    patience: int | str = _option(
        "none", Integer(1, "none"), "end after N epochs without a lower validation loss"
    )
    target_accuracy: float | str = _option(
        "none", Real(0, 1, word="none"), "end after an epoch with this validation accuracy or more"
    )
    keep_best: bool = _option(
        False,
        Flag(),
        "also keep the weights of the epoch with the lowest validation loss, as --patience does",
    )
    optimizer: str = _option("sgd", Choice(tuple(OPTIMISERS)), "rule of the update")
    learning_rate: float | str = _option(
        "auto", Real(0, word="auto"), "step size; auto: by network, loss and batch"
    )
    momentum: float = _option(
        0.9,
        Real(0, 1, include_above=True),
        "factor of the gradients before, for all optimizers but sgd",
    )
    weight_decay: float = _option(
        0.0,
        Real(0, 1, include_above=True),
        "so many times the parameters are added to the gradient; adamw: to the step",
    )
    clip_norm: float | str = _option(
        "none", Real(0, word="none"), "scale the mean gradient down to this norm if it is longer"
    )
    schedule: str = _option(
        "constant",
        Choice(tuple(SCHEDULES)),
        "of the rate; step: a tenth from half of the steps on, a hundredth from three quarters on; "
        "cosine: down to 0",
    )
    warmup_steps: int = _option(0, Integer(0), "steps in which the rate first grows linearly")
    seed: int = _option(0, Integer(0), "for the split, the initial weights and the order of rows")
    initial_weights: str = _option(
        "none", Text("FILE"), "begin with those of a run file, or of an export (.npz, .safetensors)"
    )
    backend: str = _option("gemm", Choice(tuple(BACKENDS)), "how to compute the gradient")
    reduction: str = _option(
        "auto",
        Choice(("auto", *REDUCTIONS)),
        "how to sum gradients over ranks; auto: shared if several ranks share a node and the "
        "backend can, else allreduce",
    )
    threads: int | str = _option(
        "auto",
        Integer(1, "auto", 4096),
        "threads per rank; auto: an equal share of the cores that the ranks may use",
    )
    dtype: str = _option(
        "auto",
        Choice(("auto", "float32", "float64"), hints=OF_PRODUCTS),
        f"type of weights and arithmetic; auto: {_default_dtypes()}",
    )
    matmul_precision: str = _option(
        "auto",
        Choice(("auto", *PRECISIONS), hints={"bfloat16": "; did you mean 'bf16'?"}),
        "precision of matrix products; auto: the dtype. With backend gemm, dtype float32 and a "
        "processor with AMX: bf16 rounds factors to 8 significant bits, bf16x6 has the accuracy "
        "of float32. With backend cuda and dtype float32: tf32 rounds them to 11 bits",
    )
    group_size: int | str = _option(
        "node",
        Integer(1, "node"),
        "for shared and reproducible: at most N ranks of a node share memory; node: all do",
    )
    shards: int = _option(
        SHARDS,
        Integer(1, maximum=4096),
        "for reproducible: products are cut into eight times as many units",
    )
    output: str = _option(
        "auto", Text("FILE.h5"), "run file; auto: hpcpgd-DATASET-TIME-JOB-RUN.h5 in this folder"
    )
    overwrite: bool = _option(
        False, Flag(), "replace an existing run file; an incomplete run is continued"
    )
    checkpoint_every: str = _option(
        "10min",
        CHECKPOINT_EVERY,
        "steps (500) or time (30s, 10min, 2h) between checkpoints; never: none, not even at a stop",
    )
    checkpoint_dir: str = _option(
        "auto", Text("DIR"), "folder of checkpoints; auto: named after the run file"
    )
    resume: str = _option(
        "auto",
        Text("auto|never|FILE"),
        "auto: continue from the newest checkpoint of the folder, if there is one; FILE: continue "
        "from this one, with its options unless others are given",
    )
    time_limit: str = _option(
        "none",
        LIMIT,
        "stop after this time (45min, 12h, SLURM's 1-12:00:00), with a checkpoint; exit code 75",
    )
    hang_limit: str = _option(
        "10min",
        LIMIT,
        "end the job (exit code 71) if ranks wait this long in a step or a validation, 3 times as "
        "long for a rank that writes, 6 times for one that loads or compiles; none: never",
    )
    log_every: int | str = _option(
        "auto",
        Integer(1, "auto"),
        "epochs between the lines of a batch log; auto: 1, or more if there are many epochs",
    )
    quiet: bool = _option(False, Flag(), "print nothing but errors")
    # The options that the user gave; others come from the checkpoint that --resume names.
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    # On rank 0 the rows of a dataset that has no file (`hpcpgd.data.reading.ARRAYS`).
    arrays: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def options(self) -> dict[str, Any]:
        """Return the value of each option."""
        return {name: getattr(self, name) for name in FIELDS}

    def seconds(self, limit: str) -> float:
        """Return ``time_limit`` or ``hang_limit`` in seconds; infinite for ``none``."""
        text = getattr(self, limit)
        return math.inf if text == LIMIT.word else LIMIT.parse(text).seconds

    def hang_limits(self) -> dict[str, float]:
        """Return, for each phase, the seconds that ranks may wait for one of them."""
        return {phase: times * self.seconds("hang_limit") for phase, times in HANG_TIMES.items()}

    def to_toml(self) -> str:
        """Return the configuration as TOML that ``--config`` reads back."""
        import tomli_w

        table = {key: _plain(value) for key, value in self.options().items()}
        return tomli_w.dumps({"train": table})


def _plain(value: Any) -> Any:
    """Return a value that TOML can hold: lists for tuples, escapes for bytes outside UTF-8."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


FIELDS = {f.name: f for f in fields(RunConfig) if f.metadata}


def flag_name(key: str) -> str:
    """Return the flag of a field: ``--batch-size`` for ``batch_size``."""
    return "--" + key.replace("_", "-")


def key_of(flag: str) -> str:
    """Return the field of a flag: ``batch_size`` for ``--batch-size``."""
    return flag.lstrip("-").replace("-", "_")


def kind_of(key: str) -> Kind:
    """Return the kind of the value of a field, of ``network`` or of ``recipe``."""
    kind: Kind = Choice(NAMES[key]) if key in NAMES else FIELDS[key].metadata["kind"]
    return kind
