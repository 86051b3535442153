"""Plan a run before its first step: every buffer that the steps need is allocated here."""

from __future__ import annotations

import importlib

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset
from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.context import RunContext
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Arena
from hpcpgd.parallel.phase_clock import PhaseClock
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.train.training_loop import Trainer


def make_sampler(config: RunConfig, rows: int) -> Sampler:
    """Return the sampler of ``rows`` training rows; a minibatch has at most all of them."""
    batch = rows if config.batch_size == "full" else min(int(config.batch_size), rows)
    return Sampler(rows, batch, config.seed)


def make_trainer(
    comm: mpi.Comm,
    config: RunConfig,
    dataset: Dataset,
    network: Network,
    parameters: Array,
    resources: Resources,
    request: StopRequest | None = None,
    arena: Arena | None = None,
) -> Trainer:
    """Plan a run on the host or, if ``resources`` have a GPU, on the GPU.

    ``request`` ends the run between two steps.  Only reductions of groups take ``arena``, and
    must: planning them allocates shared memory, which is collective.

    Raises
    ------
    UnavailableError
        On this rank, if its GPU has too little memory; on all ranks, if shared memory does
        not suffice.
    """
    grouped = REDUCTIONS[config.reduction].grouped
    if grouped != (arena is not None):
        expected = "needs an arena" if grouped else "takes no arena"
        raise ValueError(f"reduction {config.reduction} {expected}")
    sampler, clock = make_sampler(config, dataset.train.rows), PhaseClock(comm)
    stop = request or StopRequest()
    context = RunContext(
        comm, config, dataset, network, parameters, resources, sampler, clock, stop, arena
    )
    reduction = importlib.import_module(REDUCTIONS[config.reduction].module).make(context)
    return Trainer(context, reduction)
