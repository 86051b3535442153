"""Going on from a checkpoint: which one, and whether this run is the one that it is of."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpcpgd.checkpoint.checkpoint_folder import Folder, load
from hpcpgd.checkpoint.codec import decode, encode
from hpcpgd.checkpoint.state import State
from hpcpgd.checkpoint.wrong_file import problem
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import RunConfig
from hpcpgd.errors import ConfigError, DataError, printable, shown
from hpcpgd.kernels.core.network import Network
from hpcpgd.parallel import mpi

# Options that say which rows and which minibatches there are.
DECISIVE = ("standardise", "train_rows", "test_fraction", "batch_size", "seed")
# Options that people may change on the way, and that change the numbers to come.
TELLING = ("learning_rate", "backend", "reduction", "shards", "matmul_precision")


def find(config: RunConfig, folder: Folder) -> tuple[Path, State] | None:
    """Return the checkpoint that ``--resume`` asks for, None to start from the beginning.

    Raises
    ------
    DataError
        If the one that is named, or every one in the folder, is missing or damaged.
    """
    if config.resume == "never":
        return None
    if config.resume == "auto":
        return folder.newest()
    path = Path(config.resume)
    wrong = problem(path, folder.path)
    if wrong:
        raise DataError(f"--resume {path}: {wrong}")
    return path, load(path)


def on_all(comm: mpi.Comm, state: State | None) -> State | None:
    """Return rank 0's state on every rank; collective."""
    body = mpi.bcast_bytes(comm, b"" if state is None else encode(state))
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

    ``path`` is its name, for messages.

    Raises
    ------
    ConfigError
        Naming the first difference.
    """
    ours, theirs = asdict(network), asdict(state.network)
    pairs = {name: (ours[name], theirs[name]) for name in ours}
    pairs["dataset (SHA-256)"] = (dataset_sha256, state.dataset_sha256)
    options = plain(config)
    before = {"standardise": False, **state.config}  # which older checkpoints do not have
    pairs |= {name: (options[name], before.get(name)) for name in DECISIVE}
    for name, (mine, other) in pairs.items():
        if mine != other:
            raise ConfigError(
                f"--resume: {path} is of another run: {name} is {_shown(mine)} now, "
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
    """Return what is another than when the checkpoint was written, and moves numbers."""
    options = plain(config)
    pairs = {name: (state.config.get(name), options[name]) for name in TELLING}
    if REDUCTIONS[config.reduction].same_bits:
        pairs |= {name: (state.facts.get(name, "unknown"), facts[name]) for name in facts}
    return [
        printable(f"{name} was {_shown(a)}, is {_shown(b)}")
        for name, (a, b) in pairs.items()
        if a != b
    ]


def plain(config: RunConfig) -> dict[str, Any]:
    """Return the options as JSON has them."""
    options: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return options


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return value if isinstance(value, str) else shown(value)
