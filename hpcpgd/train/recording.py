"""What a run tells of itself: the record that its file is written from, its first lines."""

from __future__ import annotations

import platform
import socket
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hpcpgd.checkpoint import resume
from hpcpgd.checkpoint.state import State
from hpcpgd.config.default_rate import default_rate
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.data import Dataset
from hpcpgd.engines.context import RunContext
from hpcpgd.environment import provenance
from hpcpgd.errors import printable
from hpcpgd.kernels.backends.registry import BACKENDS
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.workspace import TOTALS
from hpcpgd.machine.cores import affinity
from hpcpgd.machine.gpu import HOST, Gpu
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.reductions.traffic import communicated, step_products
from hpcpgd.results.record import RankPlace, RunRecord, Segment
from hpcpgd.train.training_loop import Trainer
from hpcpgd.version import __version__


def _places(ranks: mpi.Ranks, gpu: Gpu | None) -> list[RankPlace]:
    """Return where every rank runs; collective."""
    cores = ",".join(map(str, affinity()))
    own = "none" if gpu is None else gpu.place
    mine = (socket.gethostname(), provenance.cpu_model(), cores, own)
    columns = [mpi.allgather_texts(ranks.comm, text) for text in mine]
    return [RankPlace(*row) for row in zip(*columns, strict=True)]


def make_segment(
    ranks: mpi.Ranks, context: RunContext, started: datetime, compile_seconds: float
) -> Segment:
    """Return this start of the run, before its first step; collective."""
    config, resources = context.config, context.resources
    gpu = resources.gpu
    return Segment(
        first_step=1,
        last_step=0,
        started=started.isoformat(timespec="seconds"),
        ranks=ranks.size,
        nodes=ranks.nodes,
        threads=resources.threads,
        backend=config.backend,
        reduction=config.reduction,
        hpcpgd_version=__version__,
        mpi_library=mpi.implementation(),
        blas_library=provenance.blas_library(resources.blas),
        python_version=platform.python_version(),
        numpy_version=np.__version__,
        numba_version=version("numba"),
        gpu_model="none" if gpu is None else gpu.model,
        gpu_library="none" if gpu is None else gpu.device.versions,
        transport=HOST if gpu is None else gpu.transport,
        ranks_per_gpu=0 if gpu is None else gpu.sharing,
        compile_seconds=compile_seconds,
        oversubscribed=resources.oversubscribed,
        group_size=max(context.group_sizes),
        shards=config.shards if REDUCTIONS[config.reduction].same_bits else 0,
        hidden_share=np.nan,
        places=_places(ranks, gpu),
    )


def make_record(run: str, argv: list[str], trainer: Trainer, segments: list[Segment]) -> RunRecord:
    """Return what the file of ``run`` is written from."""
    context, batch, this = trainer.context, trainer.sampler.batch_size, segments[-1]
    network, on_device = context.network, BACKENDS[this.backend].on_device
    return RunRecord(
        run=run,
        config=context.config,
        network=network,
        argv=argv,
        git_revision=provenance.git_revision() if trainer.comm.rank == 0 else "",
        dataset=context.dataset,
        segments=segments,
        costs=step_products(network, batch),
        communicated=communicated(
            network, this.reduction, batch, context.group_sizes, this.threads, on_device
        ),
        history=trainer.history,
    )


def make_state(trainer: Trainer, record: RunRecord, totals: Array, facts: dict[str, str]) -> State:
    """Return what a checkpoint is written from, between two steps.

    ``totals`` are those of all ranks.
    """
    return State(
        run=record.run,
        run_file=str(Path(record.config.output).absolute()),
        config=resume.plain(record.config),
        dataset_sha256=record.dataset.sha256,
        facts=facts,
        network=record.network,
        steps=trainer.engine.steps,
        elapsed=trainer.elapsed,
        totals=totals.reshape(-1, TOTALS),
        parameters=trainer.engine.parameters,
        history=record.history,
        segments=record.segments,
    )


def announcement(dataset: Dataset, record: RunRecord, resources: Resources) -> str:
    """Return the first lines of a run."""
    segment, network, config = record.segments[-1], record.network, record.config
    name = dataset.name if dataset.name.isprintable() else ascii(dataset.name)
    gpu = resources.gpu
    where = f"BLAS {segment.blas_library}"
    if gpu is not None:
        where = f"{gpu.describe()}, {config.matmul_precision} products"
    scarce = " (more threads than cores)" if segment.oversubscribed else ""
    usual = " (default)" if config.learning_rate == default_rate(config) else ""
    data = f"data: {printable('; '.join(dataset.notes))}\n" if dataset.notes else ""
    return (
        f"hpcpgd {__version__}: {'-'.join(map(str, network.widths))} on {name}: "
        f"{dataset.train.rows} training, {dataset.validation.rows} validation, "
        f"{dataset.test.rows} test rows\n"
        f"{data}"
        f"ranks {segment.ranks} x threads {segment.threads}, nodes {segment.nodes}"
        f"{scarce}, backend {segment.backend}, "
        f"reduction {segment.reduction}, {network.dtype}, batch {config.batch_size}, "
        f"rate {float(config.learning_rate):g}{usual}, seed {config.seed}\n"
        f"{where}; kernels ready in {segment.compile_seconds:.1f} s"
    )
