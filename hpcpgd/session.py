"""The course of one run, from the dataset to the last word on the terminal."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hpcpgd import mpi, provenance
from hpcpgd.agreement import require_same_config, require_same_machine
from hpcpgd.config import GROUPED, RunConfig
from hpcpgd.cores import affinity
from hpcpgd.cost import communicated, step_products
from hpcpgd.data import Dataset
from hpcpgd.distribute import SPLITS, load_on_all
from hpcpgd.errors import DivergedError, HpcpgdError, StoppedError
from hpcpgd.evaluation import Scores
from hpcpgd.gpu import HOST, Gpu, device_errors
from hpcpgd.group import Arena, make_group
from hpcpgd.jitcache import is_temporary
from hpcpgd.kernels.network import Network
from hpcpgd.memory import ensure_memory
from hpcpgd.model import initial_parameters, make_network
from hpcpgd.planning import make_sampler, make_trainer
from hpcpgd.progress import Progress, summary
from hpcpgd.reductions import choose
from hpcpgd.resources import Resources, claim
from hpcpgd.results.atomic import check_writable
from hpcpgd.results.record import RankPlace, RunRecord, Segment
from hpcpgd.results.runfile import write_run_file
from hpcpgd.stop import StopRequest
from hpcpgd.training import Trainer
from hpcpgd.version import __version__
from hpcpgd.warmup import compile_kernels


class Session:
    """One run.  Construction and ``run`` are collective.

    Parameters
    ----------
    ranks : Ranks
    config : RunConfig
    argv : sequence of str
        The command line, for the record.
    stop : StopRequest
        Ends the training between two steps.
    """

    def __init__(
        self, ranks: mpi.Ranks, config: RunConfig, argv: Sequence[str], stop: StopRequest
    ) -> None:
        self.ranks = ranks
        self.first = ranks.rank == 0
        self.started = datetime.now(UTC)
        self.argv = list(argv)
        self._sizes = (1,) * ranks.size
        self.stop = stop
        most = int(mpi.largest(ranks.comm, float(ranks.node.size)))
        reduction = choose(config, most)
        # What ``auto`` became may have no groups: the record must be a configuration, too.
        size = config.group_size if reduction in GROUPED else "node"
        self.config = replace(config, reduction=reduction, group_size=size)
        self.progress = Progress(config.quiet or not self.first, config.epochs)
        require_same_config(ranks.comm, config)
        path = os.fsencode(self._output_path()) if self.first else b""
        self.path = Path(os.fsdecode(mpi.broadcast_bytes(ranks.comm, path)))

    def run(self) -> Path:
        """Train, test and write the run file.

        Raises
        ------
        HpcpgdError
            The same on every rank.
        """
        with mpi.agreed(self.ranks.comm):
            if self.first:
                check_writable(self.path, self.config.overwrite, Path(self.config.dataset))
        arena = self._arena()
        try:
            self._run(arena)
        except HpcpgdError as error:
            if error.agreed:  # else the others are elsewhere, and freeing could wait for them
                _release(arena)
            raise
        _release(arena)
        return self.path

    def _run(self, arena: Arena | None) -> None:
        dataset = load_on_all(self.ranks, self.config, arena)
        network = make_network(self.config, dataset.n_in, dataset.n_classes)
        start, stop = make_sampler(self.config, dataset.train.rows).slice(0, self.ranks.size, 0)
        resources = claim(self.ranks, self.config, network.flops_per_example * (stop - start))
        self.config = replace(self.config, threads=resources.threads, output=str(self.path))
        self._ensure_memory(dataset, network, arena)
        if self.config.reduction == "reproducible":
            require_same_machine(self.ranks.comm, provenance.blas_library(resources.blas))
        with mpi.agreed(self.ranks.comm):  # a GPU may be too small
            trainer = self._plan(dataset, network, resources, arena)
        compile_seconds = compile_kernels(self.ranks, trainer, resources.gpu)
        segment = self._segment(resources, compile_seconds, arena)
        record = self._record(dataset, network, segment, trainer)
        self._announce(dataset, record, resources)
        self._write(record)
        with device_errors("the GPU failed while it trained"):
            self._train(trainer, record)

    def _arena(self) -> Arena | None:
        """Return memory for groups of ranks, if the reduction has such; collective."""
        if self.config.reduction not in GROUPED:
            return None
        size = self.config.group_size
        group = make_group(self.ranks, None if size == "node" else int(size))
        self._sizes = group.sizes
        return Arena(self.ranks, group)

    def _ensure_memory(self, dataset: Dataset, network: Network, arena: Arena | None) -> None:
        """Refuse a network that the ranks of a node cannot hold; collective."""
        # Parameters and gradient; with threads, backend loops has a gradient for each.
        threads = int(self.config.threads) if self.config.backend == "loops" else 1
        confusion = 8 * dataset.n_classes**2 if dataset.test.rows else 0
        # Groups hold the parameters once, and ranks a block; but each makes the initial ones.
        vectors = 1 + threads if arena is None else 1 + 2 / arena.group.size
        nbytes = int(vectors * network.size * network.itemsize) + confusion
        ensure_memory(self.ranks, nbytes, "network")

    def _plan(
        self, dataset: Dataset, network: Network, resources: Resources, arena: Arena | None
    ) -> Trainer:
        parameters = initial_parameters(network, self.config.seed)
        return make_trainer(
            self.ranks.comm, self.config, dataset, network, parameters, resources, self.stop,
            arena,
        )  # fmt: skip

    def _train(self, trainer: Trainer, record: RunRecord) -> None:
        self.progress.epochs = trainer.epochs_to_come(self.config.epochs)
        try:
            trainer.run(self.config.epochs, self.progress.epoch)
        except DivergedError:  # raised on all ranks after the same step, as is the next
            self._end(trainer, record, "diverged")
            raise
        except StoppedError as error:
            record.parameters = trainer.engine.parameters
            self._end(trainer, record, "stopped")
            error.args = (f"{error}; the weights so far are in {self.path}",)
            raise
        self.progress.close()
        test = trainer.test()
        record.parameters = trainer.engine.parameters
        # No test rows, or labels that mean nothing: no test result.
        if trainer.dataset.test.rows and trainer.dataset.has_accuracy:
            record.test = test
        self._end(trainer, record, "complete")
        self._conclude(trainer, test)

    def _end(self, trainer: Trainer, record: RunRecord, status: str) -> None:
        """Write how the run ended."""
        self.progress.close()
        record.status = status
        record.segments[-1].last_step = trainer.steps_done
        record.segments[-1].hidden_share = trainer.reduction.hidden_share
        self._write(record)

    def _conclude(self, trainer: Trainer, test: Scores) -> None:
        text = summary(trainer.history, test.loss, test.accuracy, str(self.path))
        last, every = trainer.history.epochs[-1].steps, trainer.sampler.steps
        if last < every:
            text = f"--max-steps: the last epoch has {last} of its {every} steps\n{text}"
        self.progress.say(text)

    def _output_path(self) -> Path:
        if self.config.output != "auto":
            return Path(self.config.output)
        word = Path(self.config.dataset).stem[:40]
        slug = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in word)
        time = f"{self.started:%Y%m%dT%H%M%SZ}"
        return Path(f"hpcpgd-{slug}-{time}-{provenance.job_label()}.h5")

    def _write(self, record: RunRecord) -> None:
        """Write the run file on rank 0; a failure is raised on every rank."""
        with mpi.agreed(self.ranks.comm):
            if self.first:
                write_run_file(self.path, record)

    def _places(self, gpu: Gpu | None) -> list[RankPlace]:
        """Return where every rank runs, on rank 0; collective."""
        comm = self.ranks.comm
        cores = ",".join(map(str, affinity()))
        own = "none" if gpu is None else gpu.place
        mine = (socket.gethostname(), provenance.cpu_model(), cores, own)
        columns = [mpi.gather_texts(comm, text) for text in mine]
        return [RankPlace(*row) for row in zip(*columns, strict=True)]

    def _segment(
        self, resources: Resources, compile_seconds: float, arena: Arena | None
    ) -> Segment:
        gpu = resources.gpu
        return Segment(
            first_step=1,
            last_step=0,
            started=self.started.isoformat(timespec="seconds"),
            ranks=self.ranks.size,
            nodes=self.ranks.nodes,
            threads=resources.threads,
            backend=self.config.backend,
            reduction=self.config.reduction,
            hpcpgd_version=__version__,
            mpi_library=mpi.implementation(),
            blas_library=provenance.blas_library(resources.blas),
            gpu_model="none" if gpu is None else gpu.model,
            gpu_library="none" if gpu is None else gpu.device.versions,
            transport=HOST if gpu is None else gpu.transport,
            ranks_per_gpu=0 if gpu is None else gpu.sharing,
            compile_seconds=compile_seconds,
            oversubscribed=resources.oversubscribed,
            group_size=1 if arena is None else max(arena.group.sizes),
            shards=self.config.shards if self.config.reduction == "reproducible" else 0,
            hidden_share=np.nan,
            places=self._places(gpu),
        )

    def _record(
        self, dataset: Dataset, network: Network, segment: Segment, trainer: Trainer
    ) -> RunRecord:
        return RunRecord(
            config=self.config,
            network=network,
            argv=self.argv,
            git_revision=provenance.git_revision() if self.first else "",
            dataset_name=dataset.name,
            dataset_sha256=dataset.sha256,
            scale=dataset.scale,
            offset=dataset.offset,
            split_rows={split: getattr(dataset, split).rows for split in SPLITS},
            segments=[segment],
            costs=step_products(network, trainer.sampler.batch_size),
            communicated=communicated(
                network,
                segment.reduction,
                trainer.sampler.batch_size,
                self._sizes,
                segment.threads,
            ),
            history=trainer.history,
        )

    def _announce(self, dataset: Dataset, record: RunRecord, resources: Resources) -> None:
        segment, network, config = record.segments[-1], record.network, self.config
        rows = record.split_rows
        printable = dataset.name if dataset.name.isprintable() else ascii(dataset.name)
        lost = ", for this job alone: no cache folder can be written" if is_temporary() else ""
        gpu = resources.gpu
        where = f"BLAS {segment.blas_library}"
        if gpu is not None:
            where = f"{gpu.describe()}, {config.matmul_precision} products"
        scarce = " (more threads than cores)" if segment.oversubscribed else ""
        self.progress.say(
            f"hpcpgd {__version__}: {'-'.join(map(str, network.widths))} on {printable}: "
            f"{rows['train']} training, {rows['validation']} validation, {rows['test']} test rows\n"
            f"ranks {segment.ranks} x threads {segment.threads}, nodes {segment.nodes}"
            f"{scarce}, backend {segment.backend}, "
            f"reduction {segment.reduction}, {network.dtype}, batch {config.batch_size}, "
            f"rate {config.learning_rate:g}, seed {config.seed}\n"
            f"{where}; kernels ready in {segment.compile_seconds:.1f} s{lost}"
        )


def _release(arena: Arena | None) -> None:
    """Give back the memory of groups; collective."""
    if arena is not None:
        arena.free()
        arena.group.free()
