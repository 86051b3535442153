"""Continue from a checkpoint: which one, and whether it is a checkpoint of this run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hpcpgd.checkpoint.checkpoint_folder import Folder, load
from hpcpgd.checkpoint.codec import decode, encode
from hpcpgd.checkpoint.state import State
from hpcpgd.checkpoint.wrong_file import problem
from hpcpgd.config.read_options import checked
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import FIELDS, RunConfig, kind_of
from hpcpgd.errors import ConfigError, DataError, printable, shown
from hpcpgd.kernels.core.network import Network
from hpcpgd.parallel import mpi

# Options that determine rows, minibatches and updates; a run cannot continue with others.
DECISIVE = (
    "task", "standardise", "train_rows", "test_fraction", "init", "batch_size", "seed", "optimizer",
    "initial_weights",
)  # fmt: skip
# Options that users may change when a run continues, and that change its later results.
TELLING = (
    "learning_rate", "momentum", "weight_decay", "clip_norm", "schedule", "warmup_steps",
    "backend", "reduction", "shards", "matmul_precision",
)  # fmt: skip

# Options of a machine or of a start, which are not taken from a checkpoint named by --resume.
OWN = (
    "reduction", "shards", "threads", "group_size", "output", "overwrite", "checkpoint_dir",
    "resume", "time_limit", "hang_limit", "log_every", "quiet",
)  # fmt: skip
# Of these, taken from runs whose reduction has the same bits: for others another may be faster.
SAME_BITS = ("reduction", "shards")


def find(config: RunConfig, folder: Folder) -> tuple[Path, State] | None:
    """Return the checkpoint that ``--resume`` selects, None to start from the beginning.

    Raises
    ------
    DataError
        If the named checkpoint is missing or damaged, or if all in the folder are damaged.
    """
    if config.resume == "never":
        return None
    if config.resume == "auto":
        return folder.newest()
    return _named(config, folder)


def _named(config: RunConfig, folder: Folder) -> tuple[Path, State]:
    path = Path(config.resume)
    wrong = problem(path, folder.path)
    if wrong:
        raise DataError(f"--resume {path}: {wrong}")
    return path, load(path)


def completed(comm: mpi.Comm, config: RunConfig, folder: Folder) -> RunConfig:
    """Return ``config`` with the options of the checkpoint that ``--resume`` names; collective.

    Options that the user gave, such as ``--epochs``, override those of the checkpoint.

    Raises
    ------
    ConfigError, DataError
        On every rank.
    """
    if config.resume in ("auto", "never"):
        return config
    text = b""
    with mpi.agreed(comm):
        if comm.rank == 0:
            text = json.dumps(_named(config, folder)[1].config).encode()
    before = json.loads(mpi.bcast_bytes(comm, text))
    with mpi.agreed(comm):
        return brought(before, config)


def brought(before: Mapping[str, Any], config: RunConfig) -> RunConfig:
    """Return ``config`` with the options ``before`` of a checkpoint where the user gave none.

    Raises
    ------
    ConfigError
        If the options do not go together.
    DataError
        If the checkpoint has an invalid option.
    """
    traits = REDUCTIONS.get(before.get("reduction", ""))
    also = SAME_BITS if traits is not None and traits.same_bits else ()
    values = {
        name: checked(kind_of(name), before[name], f"--resume {config.resume}: {name}", DataError)
        for name in FIELDS
        if name in before and (name in also or name not in OWN)
    }
    if "epochs" in config.given:
        values.pop("max_steps", None)  # the limit of the earlier, shorter run
    given = {name: getattr(config, name) for name in config.given}
    return replace(resolve(values, given), arrays=config.arrays)


def on_all(comm: mpi.Comm, state: State | None) -> State | None:
    """Return rank 0's state on every rank, others without the best weights; collective."""
    body = mpi.bcast_bytes(comm, b"" if state is None else encode(replace(state, best=None)))
    if comm.rank == 0 or not body:
        return state
    return decode(memoryview(body))


def require_same_run(
    path: Path | None,
    state: State,
    config: RunConfig,
    network: Network,
    dataset_sha256: str,
    steps_an_epoch: int,
) -> None:
    """Refuse a checkpoint of another network, dataset, data type or order of rows.

    ``path`` is the name of its file, for messages.

    Raises
    ------
    ConfigError
        With the first difference.
    """
    now, then = asdict(network), asdict(state.network)
    pairs = {name: (now[name], then[name]) for name in now}
    pairs["dataset (SHA-256)"] = (dataset_sha256, state.dataset_sha256)
    options = plain(config)
    # Older checkpoints lack some of these.
    before = {name: getattr(RunConfig, name) for name in DECISIVE} | state.config
    pairs |= {name: (options[name], before[name]) for name in DECISIVE}
    for name, (value, other) in pairs.items():
        if value != other:
            raise ConfigError(
                f"--resume: {path} is of another run: {name} is {_shown(value)} now, "
                f"{_shown(other)} there: give the same, or another --output, or "
                "--resume never --overwrite"
            )
    if config.max_steps != "none" and state.steps > int(config.max_steps):
        raise ConfigError(
            f"--max-steps {config.max_steps}: {path} has made {state.steps} steps already"
        )
    if state.steps > config.epochs * steps_an_epoch:
        raise ConfigError(
            f"--epochs {config.epochs}: {path} has made {state.steps} steps already, "
            f"{steps_an_epoch} an epoch: ask for {-(-state.steps // steps_an_epoch)} or more"
        )
    begun = len(state.history) * steps_an_epoch
    if not begun <= state.steps <= begun + steps_an_epoch:
        raise ConfigError(
            f"--resume: {path} has {state.steps} steps in {len(state.history)} epochs "
            f"of {steps_an_epoch}: it is of another run"
        )


def changes(state: State, config: RunConfig, facts: dict[str, str]) -> list[str]:
    """Return what has changed since the checkpoint was written and changes later results."""
    options = plain(config)
    before = {name: getattr(RunConfig, name) for name in TELLING} | state.config
    names = TELLING if config.schedule == "constant" else (*TELLING, "epochs", "max_steps")
    pairs = {name: (before[name], options[name]) for name in names}
    if REDUCTIONS[config.reduction].same_bits:
        pairs |= {name: (state.facts.get(name, "unknown"), facts[name]) for name in facts}
    return [
        printable(f"{name} was {_shown(a)}, is {_shown(b)}")
        for name, (a, b) in pairs.items()
        if a != b
    ]


def plain(config: RunConfig) -> dict[str, Any]:
    """Return the options as values of types that JSON has."""
    options: dict[str, Any] = json.loads(json.dumps(config.options()))
    return options


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return value if isinstance(value, str) else shown(value)
