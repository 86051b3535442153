"""The record from which a run file is written, and the first lines that a run prints."""

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
from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset
from hpcpgd.engines.context import RunContext
from hpcpgd.engines.parameters import params_sha256
from hpcpgd.environment import provenance
from hpcpgd.errors import printable
from hpcpgd.kernels.backends.registry import BACKENDS, TILE_PARTS
from hpcpgd.kernels.core.kernel_files import DISK
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.workspace import TOTALS
from hpcpgd.machine.cores import affinity
from hpcpgd.machine.gpu import HOST, Gpu
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.reductions.traffic import communicated, step_products
from hpcpgd.results.record import RankPlace, RunRecord, Segment
from hpcpgd.train.training_loop import Trainer
from hpcpgd.version import __version__

# A step has at least one Allreduce or two barriers.  On one node they take 2 to 10 us (the
# doctor times them), between nodes longer.  To divide less work than this does not pay.
WORTH_A_RANK_SECONDS = 5e-6


def _places(ranks: mpi.Ranks, gpu: Gpu | None) -> list[RankPlace]:
    """Return where every rank runs; collective."""
    cores = ",".join(map(str, affinity()))
    device = "none" if gpu is None else gpu.place
    place = (socket.gethostname(), provenance.cpu_model(), cores, device)
    columns = [mpi.allgather_texts(ranks.comm, text) for text in place]
    return [RankPlace(*row) for row in zip(*columns, strict=True)]


def make_segment(
    ranks: mpi.Ranks, context: RunContext, started: datetime, compile_seconds: float
) -> Segment:
    """Return the segment of this start of the run, before its first step; collective."""
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
        initial_sha256=params_sha256(context.network, context.parameters),
        precision=config.matmul_precision,
    )


def make_record(run: str, argv: list[str], trainer: Trainer, segments: list[Segment]) -> RunRecord:
    """Return the record from which the file of ``run`` is written."""
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
        costs=step_products(
            network, batch, context.config.matmul_precision, context.byte_scale is not None
        ),
        communicated=communicated(
            network, this.reduction, batch, context.group_sizes, this.threads, on_device
        ),
        history=trainer.history,
    )


def make_state(
    trainer: Trainer, record: RunRecord, totals: Array, states: Array, facts: dict[str, str]
) -> State:
    """Return the state from which a checkpoint is written, between two steps.

    ``totals`` have been summed over the ranks; ``states`` is what the optimiser keeps, whole.
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
        states=states,
        history=record.history,
        segments=record.segments,
        best=trainer.best,
    )


def announcement(
    ranks: mpi.Ranks, config: RunConfig, dataset: Dataset, network: Network, resources: Resources
) -> str:
    """Return the first lines of a run, before its kernels are compiled."""
    name = dataset.name if dataset.name.isprintable() else ascii(dataset.name)
    usual = " (default)" if config.learning_rate == default_rate(config) else ""
    rate = f"{float(config.learning_rate):g}{usual}"
    batch = config.batch_size
    if batch != "full" and int(batch) > dataset.train.rows:
        batch = f"{dataset.train.rows} (all rows; asked for {batch})"
    data = f"data: {printable('; '.join(dataset.notes))}\n" if dataset.notes else ""
    return (
        f"hpcpgd {__version__}: {'-'.join(map(str, network.widths))} on {name}: "
        f"{dataset.train.rows} training, {dataset.validation.rows} validation, "
        f"{dataset.test.rows} test rows\n"
        f"{data}"
        f"ranks {ranks.size} x threads {resources.threads}, nodes {ranks.nodes}, "
        f"backend {config.backend}, reduction {config.reduction}, {network.dtype}, "
        f"batch {batch}, rate {rate}, seed {config.seed}"
    )


def cautions(backend: str, ranks: int, resources: Resources, flops: float) -> list[str]:
    """Return a sentence for each reason why fewer than ``ranks`` ranks would be as fast.

    ``flops`` are the floating-point operations of a rank's slice of a minibatch.
    """
    sentences = []
    if resources.oversubscribed:
        what = "ranks" if resources.threads == 1 else "threads"
        sentences.append(
            f"there are more {what} than cores: they take turns, and times do not show scaling"
        )
    seconds = flops / (1e9 * BACKENDS[backend].gflops * resources.threads)
    if ranks > 1 and seconds < WORTH_A_RANK_SECONDS:
        sentences.append(
            f"too small to profit from {ranks} ranks: a rank's slice of a minibatch takes about "
            f"{1e6 * seconds:.2g} us, the sum over the ranks takes longer: use fewer ranks, "
            "or a larger batch or network"
        )
    return sentences


def compiling(backend: str, ranks: mpi.Ranks) -> str:
    """Return the line that is printed before kernels are compiled."""
    seconds = BACKENDS[backend].compile_seconds
    kept = ", kept for later runs" * (not DISK.unkept)
    text = f"compiling kernels{kept}: about {seconds:.0f} s on an idle core"
    if ranks.nodes > 1:
        return f"{text}; the first rank of each node compiles, all others wait"
    return f"{text}; rank 0 compiles, all others wait" if ranks.size > 1 else text


def ready(segment: Segment, config: RunConfig, gpu: Gpu | None) -> str:
    """Return the line that is printed after the kernels are compiled or loaded."""
    where = f"BLAS {segment.blas_library}"
    if config.matmul_precision in TILE_PARTS:
        where = f"{config.matmul_precision} products on AMX tiles"
    if gpu is not None:
        where = f"{gpu.describe()}, {config.matmul_precision} products"
    return f"{where}; kernels ready in {segment.compile_seconds:.1f} s"
