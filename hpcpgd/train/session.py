"""The course of one run on each rank: checkpoint, dataset, resources, training, test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from hpcpgd.checkpoint import resume
from hpcpgd.checkpoint.run_files import files_of, with_run_file
from hpcpgd.checkpoint.state import State
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import CHECKPOINT_EVERY, RunConfig
from hpcpgd.data import Dataset
from hpcpgd.engines.parameters import make_network, params_sha256
from hpcpgd.environment import provenance
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.errors import DivergedError, StoppedError
from hpcpgd.kernels.backends.registry import BACKENDS
from hpcpgd.kernels.core.kernel_files import DISK
from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.core.optimisers import OPTIMISERS
from hpcpgd.machine import jit_cache
from hpcpgd.machine.gpu import device_errors
from hpcpgd.machine.node_memory import ensure_memory
from hpcpgd.machine.other_load import OtherLoad
from hpcpgd.machine.resources import claim
from hpcpgd.parallel import mpi, shm_files
from hpcpgd.parallel.groups import Arena, make_group
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.parallel.watchdog import Watchdog
from hpcpgd.reductions import choose
from hpcpgd.results.record import RunRecord, Scores, Segment
from hpcpgd.train import early_end, learning_check, recording, same_on_all_ranks
from hpcpgd.train.again import command
from hpcpgd.train.checkpoint_timer import CheckpointTimer
from hpcpgd.train.claim_files import Opened, open_run
from hpcpgd.train.distribute import load_on_all
from hpcpgd.train.initial_weights import first_parameters
from hpcpgd.train.planning import make_sampler, make_trainer
from hpcpgd.train.progress import Progress, summary
from hpcpgd.train.training_loop import Trainer
from hpcpgd.train.warmup import compile_kernels
from hpcpgd.train.writer import Writer


class Session:
    """One run.  Construction and ``run`` are collective.

    Each stage passes its result to the next: the files and the checkpoint, the memory of
    groups, the trainer with its context, the writer.

    Parameters
    ----------
    argv : sequence of str
        The command line, for the record.  Without one, only the progress is printed.
    stop : StopRequest
        Ends the training between two steps.
    """

    def __init__(
        self,
        ranks: mpi.Ranks,
        config: RunConfig,
        argv: Sequence[str],
        stop: StopRequest,
        watch: Watchdog,
    ) -> None:
        self.ranks = ranks
        self.watch = watch
        self.first = ranks.rank == 0
        self.started = datetime.now(UTC)
        self.argv = list(argv)
        self.stop = stop
        if self.first:
            stop.end_at = monotonic() + config.seconds("time_limit")
        self._name = secrets.token_hex(4)  # of the run, if it is new
        folder = files_of(config, self.started, self._name).checkpoints
        config = resume.completed(ranks.comm, config, folder)
        most = int(mpi.allreduce_max(ranks.comm, float(ranks.node.size)))
        reduction = choose(config, most)
        # The reduction chosen for ``auto`` may have no groups; the record must be valid, too.
        size = config.group_size if REDUCTIONS[reduction].grouped else "node"
        self.config = replace(config, reduction=reduction, group_size=size)
        silent = config.quiet or not self.first
        self.progress = Progress(silent, config.epochs, config.log_every)
        self.progress.bare = not argv
        same_on_all_ranks.require_same_config(ranks.comm, config)

    def run(self, result: Callable[[RunRecord], Any]) -> Any:
        """Train, test and write the run file; return the ``result`` of its record.

        Raises
        ------
        HpcpgdError
            The same on every rank.
        """
        if self.ranks.node.rank == 0:
            shm_files.sweep()
        with ExitStack() as claims:
            start = self._start(claims)
            with self._memory_of_groups() as arena:
                return self._run(start, arena, result)

    def _start(self, claims: ExitStack) -> Opened:
        """Find where the run begins, and claim its files until ``claims`` closes; collective.

        The result has no locks.  Only rank 0 has the checkpoint's path and the replaced run.
        """
        if not self.config.output:
            return Opened(files_of(self.config, self.started, self._name))
        opened, name = None, b""
        with mpi.agreed(self.ranks.comm):
            if self.first:
                files = files_of(self.config, self.started, self._name)
                opened = open_run(self.config, files, self.argv)
                claims.callback(opened.close)
                name = os.fsencode(opened.files.run_file)
        run_file = Path(os.fsdecode(mpi.bcast_bytes(self.ranks.comm, name)))
        state = resume.on_all(self.ranks.comm, None if opened is None else opened.state)
        path, replaced = (None, "") if opened is None else (opened.path, opened.replaced)
        return Opened(with_run_file(self.config, run_file), state, path, replaced)

    @contextmanager
    def _memory_of_groups(self) -> Iterator[Arena | None]:
        """Yield memory of this rank's group, None for a reduction without groups; collective."""
        if not REDUCTIONS[self.config.reduction].grouped:
            yield None
            return
        size = self.config.group_size
        arena = Arena(self.ranks, make_group(self.ranks, None if size == "node" else int(size)))
        try:
            yield arena
        except BaseException as error:
            if mpi.raised_on_all(self.ranks.comm, error):  # else others are elsewhere: no hang
                _release(arena)
            raise
        _release(arena)

    def _run(self, start: Opened, arena: Arena | None, result: Callable[[RunRecord], Any]) -> Any:
        fault_point("dataset")
        dataset = load_on_all(self.ranks, self.config, arena)
        early_end.require_validation(self.config, dataset)
        network = make_network(self.config, dataset.n_in, dataset.n_out)
        self._require_same_run(dataset, network, start)
        begin, end = make_sampler(self.config, dataset.train.rows).slice(0, self.ranks.size, 0)
        flops = network.flops_per_example * (end - begin)
        resources = claim(self.ranks, self.config, flops)
        output = self.config.output and str(start.files.run_file)
        config = replace(self.config, threads=resources.threads, output=output)
        self._require_room(config, dataset, network, arena)
        facts = same_on_all_ranks.program_facts(resources.blas)
        cure = "start all ranks from the same installation"
        same_on_all_ranks.require_same(self.ranks.comm, facts, cure)
        if REDUCTIONS[config.reduction].same_bits:
            blas = provenance.blas_library(resources.blas)
            same_on_all_ranks.require_same_machine(self.ranks.comm, blas)
        first_line = recording.announcement(self.ranks, config, dataset, network, resources)
        sentences = recording.cautions(config.backend, self.ranks.size, resources, flops)
        self.progress.say("\n".join([first_line, *sentences]))
        comm, say = self.ranks.comm, self.progress.say
        with (
            self.watch.during("compiling"),
            mpi.agreed(comm),  # a GPU may have too little memory
        ):
            parameters = first_parameters(comm, config, dataset, network, start.state, say)
            fault_point("planning", parameters)
            trainer = make_trainer(
                comm, config, dataset, network, parameters, resources, self.stop, arena
            )
        with closing(trainer):  # on every path its threads end before their memory is freed
            return result(self._run_planned(trainer, start))

    def _run_planned(self, trainer: Trainer, start: Opened) -> RunRecord:
        context = trainer.context
        config, resources = context.config, context.resources
        wait = recording.compiling(config.backend, self.ranks)
        with self.watch.during("compiling"), DISK.announcing(partial(self.progress.say, wait)):
            seconds = compile_kernels(self.ranks, trainer, resources.gpu)
            notices = mpi.allgather_texts(self.ranks.comm, jit_cache.notice())
        segment = recording.make_segment(self.ranks, context, self.started, seconds)
        record = self._record(trainer, segment, start.state)
        self.progress.say(recording.ready(segment, config, resources.gpu))
        for line in sorted(set("\n".join(notices).splitlines()) - {""}):
            self.progress.say(line)
        facts = same_on_all_ranks.machine_facts(provenance.blas_library(resources.blas))
        writer = Writer(self.ranks.comm, self.watch, start.files, record, facts)
        self._set_timer(trainer, writer)
        if start.state is not None:
            self._go_on(trainer, start.state, facts)
        trainer.compare_replicas()
        self.stop.begin()  # from now on a stopped run must complete its run file
        writer.write()
        if start.replaced:
            start.files.checkpoints.drop(start.replaced)
        gpu = resources.gpu is not None
        with (
            self.watch.during("step"),
            self.watch.asking(trainer.engine.heartbeat),
            device_errors("the GPU failed while it trained") if gpu else nullcontext(),
        ):
            self._train(trainer, writer)
        return record

    def _require_same_run(self, dataset: Dataset, network: Network, start: Opened) -> None:
        """Refuse a checkpoint of another run; collective."""
        state, path = start.state, start.path
        if state is None:
            return
        steps = make_sampler(self.config, dataset.train.rows).steps
        with mpi.agreed(self.ranks.comm):
            resume.require_same_run(path, state, self.config, network, dataset.sha256, steps)
        self.progress.say(
            f"continuing from step {state.steps} of {path}; '--resume never' starts over"
        )

    def _require_room(
        self, config: RunConfig, dataset: Dataset, network: Network, arena: Arena | None
    ) -> None:
        """Refuse a network that the ranks of a node cannot hold; collective."""
        # Parameters and gradient; threads that follow no schedule have a gradient each.
        backend = BACKENDS[config.backend]
        private = backend.own_threads and not backend.scheduled
        threads = int(config.threads) if private else 1
        confusion = 8 * dataset.n_out**2 if dataset.test.rows and dataset.has_accuracy else 0
        # A group holds all vectors once; but each rank makes initial parameters.
        states = OPTIMISERS[config.optimizer].vectors
        vectors = 1 + threads + states if arena is None else 1 + (2 + states) / arena.group.size
        best = int(self.first and config.keep_best)
        nbytes = int((vectors + best) * network.size * network.itemsize) + confusion
        ensure_memory(self.ranks, nbytes, "network")

    def _record(self, trainer: Trainer, segment: Segment, state: State | None) -> RunRecord:
        """Return the record for the run file, with the segments before this one."""
        before = [] if state is None else state.segments
        steps = 0 if state is None else state.steps
        segment.first_step, segment.last_step = steps + 1, steps
        segment.timing = trainer.timing
        run = self._name if state is None else state.run
        return recording.make_record(run, self.argv, trainer, [*before, segment])

    def _set_timer(self, trainer: Trainer, writer: Writer) -> None:
        """Give the trainer a timer, unless the run writes no checkpoints."""
        if self.config.checkpoint_every != "never":
            every = CHECKPOINT_EVERY.parse(self.config.checkpoint_every)
            write = partial(writer.checkpoint, trainer)
            trainer.timer = CheckpointTimer(self.ranks.comm, self.stop, every, write)

    def _go_on(self, trainer: Trainer, state: State, facts: dict[str, str]) -> None:
        """Set the trainer to the state of the checkpoint."""
        trainer.history.extend(state.history)
        self.progress.begun = len(state.history)
        trainer.elapsed = state.elapsed
        trainer.alike_at = state.steps
        trainer.engine.restore(state.steps, state.totals, self.first)
        trainer.engine.restore_states(state.states)
        trainer.best = state.best if self.config.keep_best else None
        if self.config.keep_best and state.best is None and state.history:
            self.progress.say("the checkpoint has no best weights: a better epoch's are kept")
        for change in resume.changes(state, trainer.context.config, facts):
            self.progress.say(f"since the checkpoint {change}: numbers will differ by it")

    def _train(self, trainer: Trainer, writer: Writer) -> None:
        self.progress.epochs = trainer.epochs_to_come(self.config.epochs)
        self.progress.dataset = trainer.dataset
        load = OtherLoad(self.ranks)
        try:
            trainer.run(self.config.epochs, self.progress.epoch)
        except DivergedError:  # like the next one, raised on all ranks after the same step
            writer.end(trainer, "diverged")
            raise
        except StoppedError as error:
            writer.record.parameters = trainer.engine.parameters
            writer.end(trainer, "stopped")
            error.args = (f"{error}; {self._how_to_go_on(writer)}",)
            raise
        finally:
            self.progress.close()
        segment = writer.record.segments[-1]
        segment.others_used, used = load.measure()
        test = trainer.test()
        writer.record.parameters = trainer.engine.parameters
        # Without test rows, or with synthetic labels, there is no test result.
        if trainer.dataset.test.rows and trainer.dataset.labelled:
            writer.record.test = test
        try:
            writer.end(trainer, "complete")
        finally:  # the result is shown, even if the disk is full
            if used:
                self.progress.say(f"{used} while this run was timed: its times may be too long")
            self._conclude(trainer, test, writer.files.run_file)
        if trainer.not_kept is not None:
            raise trainer.not_kept

    def _how_to_go_on(self, writer: Writer) -> str:
        """Return the command that continues from the checkpoint, on rank 0."""
        if not self.first:
            return ""
        if self.config.checkpoint_every == "never":
            return f"the weights so far are in {writer.files.run_file}"
        resume = "" if self.config.resume == "auto" else "auto"
        if (self.config.output, self.config.checkpoint_dir) == ("auto", "auto"):
            resume = str(writer.newest)  # the same command line would make other names
        if not self.argv:
            return f"go on with the same call{f' and resume={resume!r}' if resume else ''}"
        return f"go on with: {command(self.argv[2:], self.ranks.size, resume)}"

    def _conclude(self, trainer: Trainer, test: Scores, run_file: Path) -> None:
        if not self.first:
            return
        digest = params_sha256(trainer.context.network, trainer.engine.parameters)
        text = summary(trainer.history, trainer.dataset, test, digest, str(run_file))
        last, every = trainer.history.last.steps, trainer.sampler.steps
        if last < every:
            text = f"--max-steps: the last epoch has {last} of its {every} steps\n{text}"
        self.progress.say(early_end.judge(trainer.history, self.config)[1] + text)
        remark = learning_check.remark(trainer.history, trainer.dataset, self.config)
        if remark:
            self.progress.say(remark)


def _release(arena: Arena) -> None:
    """Free the memory of groups; collective."""
    arena.free()
    arena.group.free()
