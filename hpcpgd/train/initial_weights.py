"""The parameters with which a run begins: of a checkpoint, of a file, or drawn by the seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpcpgd.checkpoint.state import State
from hpcpgd.config.run_config import TASKS, RunConfig
from hpcpgd.data import Dataset
from hpcpgd.engines.parameters import initial_parameters, params_sha256
from hpcpgd.errors import DataError, printable
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.parallel import mpi
from hpcpgd.results.model_reader import Model, read_network


def first_parameters(
    comm: mpi.Comm, config: RunConfig, data: Dataset, network: Network,
    state: State | None, say: Callable[[str], None],
) -> Array:  # fmt: skip
    """Return the parameters before the first step, a flat vector of shape (size,); collective.

    Rank 0 alone reads a file, and passes to ``say`` what a user should know of it.

    Raises
    ------
    DataError, UnavailableError
        On every rank, if the file is bad or of another network, or a library is missing.
    """
    if state is not None:
        return state.parameters
    if config.initial_weights == "none":
        return initial_parameters(network, config.seed, config.init)
    with mpi.agreed(comm):
        flat = network.zeros()
        if comm.rank == 0:
            path = Path(config.initial_weights)
            model = read_network(path, network.dtype)
            seen, expected = (
                f"{'-'.join(map(str, n.widths))} with {n.activation} and {n.output_activation}, "
                f"{TASKS[n.regression]}"
                for n in (model.network, network)
            )
            if seen != expected:
                raise DataError(
                    f"{path}: is of {seen}, expected {expected} as --hidden, --activation, "
                    "--output-activation, --task and the dataset say"
                )
            flat[:] = model.parameters
            text = f"initial weights: {path}, params_sha256 {params_sha256(network, flat)[:12]}"
            there, here = _inputs(model), _inputs(data)
            say(printable(text + f"; its inputs: {there}; here: {here}" * (there != here)))
    mpi.bcast(comm, flat)
    return flat


def _inputs(of: Model | Dataset) -> str:
    """Return how a network or a dataset scales features and, for a regression, targets."""
    texts = []
    for what, name in (("", ""), (", targets ", "target_")):
        mean, deviation = (np.asarray(getattr(of, f"{name}{n}")) for n in ("mean", "deviation"))
        if mean.ndim and mean.size:
            numbers = f"mean {mean.mean():.6g}, deviation {deviation.mean():.6g} on average"
            texts.append(f"{what}standardised, {numbers}")
    return "".join(texts) or f"x * {of.scale:.6g} + {of.offset:.6g}"
