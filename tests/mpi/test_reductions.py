"""Every reduction gives the weights of ``reference``, over groups and threads as well."""

from __future__ import annotations

import time
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpcpgd.config.run_config import RunConfig
from hpcpgd.engines.parameters import initial_parameters, make_network, params_sha256
from hpcpgd.environment import provenance
from hpcpgd.errors import ConfigError, DivergedError, StoppedError, UnavailableError
from hpcpgd.kernels.blas import blas_library
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Arena, make_group
from hpcpgd.parallel.phase_clock import PhaseClock
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.reductions.overlap import Overlap
from hpcpgd.train.planning import make_trainer
from hpcpgd.train.same_on_all_ranks import require_same_machine
from hpcpgd.train.training_loop import Trainer
from hpcpgd.train.warmup import warm_up
from tests.mpi.test_equivalence import BOUND, config, dataset, reference, sharing, train

WAYS = [
    ("overlap", "node"), ("shared", "node"), ("shared", 1), ("shared", 2),
    ("reproducible", "node"), ("reproducible", 1), ("reproducible", 2),
]  # fmt: skip


@pytest.mark.mpi
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [37, 2, "full"])
@pytest.mark.parametrize(("reduction", "group_size"), WAYS)
def test_weights_after_three_epochs(
    comm: Any, reduction: str, group_size: int | str, batch: int | str, dtype: str, threads: int
) -> None:
    """On 3 ranks groups of at most 2 are unequal; batch 2 leaves ranks without rows."""
    exact, expected = reference(batch)
    settings = config("gemm", dtype, batch, reduction, group_size)
    parts, history = train(comm, settings, threads)
    for part, truth in zip(parts, exact, strict=True):
        assert np.max(np.abs(part - truth)) < BOUND[dtype]
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(
            history.column(name), expected.column(name), rtol=0, atol=10 * BOUND[dtype]
        )


@pytest.mark.mpi
@pytest.mark.parametrize("backend", ["loops", "gemv"])
@pytest.mark.parametrize("batch", [37, 2])
def test_units_of_the_other_backends(comm: Any, backend: str, batch: int) -> None:
    exact, _ = reference(batch)
    parts, _ = train(comm, config(backend, "float64", batch, "reproducible", 2))
    for part, truth in zip(parts, exact, strict=True):
        assert np.max(np.abs(part - truth)) < BOUND["float64"]


@pytest.mark.mpi
@pytest.mark.parametrize("group_size", ["node", 1, 2])
@pytest.mark.parametrize("backend", ["gemm", "loops", "gemv"])
def test_the_bits_of_one_rank(comm: Any, backend: str, group_size: int | str) -> None:
    """Weights and histories, on these ranks and in one process."""
    settings = config(backend, "float32", 37, "reproducible", group_size)
    alone, history = train(mpi.MPI.COMM_SELF, settings)
    parts, found = train(comm, settings)
    assert all(np.array_equal(a, b) for a, b in zip(parts, alone, strict=True))
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        assert np.array_equal(history.column(name), found.column(name))


def planned(
    comm: Any, settings: RunConfig, arena: Arena | None, request: StopRequest | None = None
) -> closing[Trainer]:
    """Return what makes a trainer's steps, whose threads end with the body."""
    network = make_network(settings, dataset().n_in, dataset().n_out)
    return closing(
        make_trainer(
            comm, settings, dataset(), network, initial_parameters(network, 0),
            Resources(1, False, blas_library.find()), request, arena,
        )
    )  # fmt: skip


@pytest.mark.mpi
@pytest.mark.parametrize(("reduction", "group_size"), WAYS)
def test_all_stop_after_the_same_step(comm: Any, reduction: str, group_size: int | str) -> None:
    settings = config("gemm", "float32", 7, reduction, group_size)
    request = StopRequest()
    with sharing(comm, settings) as arena, planned(comm, settings, arena, request) as trainer:
        warm_up(trainer)
        request.signalled = comm.rank == comm.size - 1
        with pytest.raises(StoppedError):
            trainer.run(3, lambda number, epoch: None)
        assert trainer.engine.steps == 1


@pytest.mark.mpi
@pytest.mark.parametrize(("reduction", "group_size"), WAYS)
def test_all_notice_nan_after_the_same_step(
    comm: Any, reduction: str, group_size: int | str
) -> None:
    """A weight is NaN on one rank, or on its group if the group shares the weights."""
    settings = config("gemm", "float32", 37, reduction, group_size)
    with sharing(comm, settings) as arena, planned(comm, settings, arena) as trainer:
        warm_up(trainer)
        comm.Barrier()
        if comm.rank == comm.size - 1:
            trainer.engine.network.weights(trainer.engine.parameters, 1)[:, 3] = np.nan
        comm.Barrier()
        with pytest.raises(DivergedError, match="the gradient at epoch 1, step 1 "):
            trainer.run(1, lambda number, epoch: None)


@pytest.mark.mpi
def test_parameters_are_held_once_a_group(comm: Any) -> None:
    """What one rank of a group writes, the others read: it is the same memory."""
    ranks = mpi.join(comm)
    arena = Arena(ranks, make_group(ranks, 2))
    words = arena.allocate(10, np.float64)
    assert words.ctypes.data % 64 == 0
    if arena.group.index == 0:
        words[:] = comm.rank + 1
    comm.Barrier()
    assert (words == comm.rank - arena.group.index + 1).all()
    assert sum(arena.group.sizes) == comm.size
    assert max(arena.group.sizes) <= 2
    comm.Barrier()
    arena.free()
    arena.group.free()
    mpi.leave(ranks)


@pytest.mark.mpi
def test_too_little_shared_memory_is_refused_on_all_ranks(
    comm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write to pages that do not exist would kill the ranks."""
    full = SimpleNamespace(f_bavail=1000, f_frsize=4096)
    monkeypatch.setattr("hpcpgd.parallel.groups.os.statvfs", lambda path: full)
    ranks = mpi.join(comm)
    arena = Arena(ranks, make_group(ranks, None))
    small = arena.allocate(1000, np.float64)
    assert small.size == 1000
    if comm.size > 1:
        with pytest.raises(UnavailableError, match=r"5 MiB .* 4 MiB are free: .*allreduce"):
            arena.allocate(5 * 2**20, np.uint8)
    arena.free()
    arena.group.free()
    mpi.leave(ranks)


@pytest.mark.mpi
def test_ranks_on_other_processors_cannot_be_reproducible(
    comm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_same_machine(comm, "openblas 1")
    if comm.size > 1:
        monkeypatch.setattr(provenance, "cpu_model", lambda: f"cpu {min(comm.rank, 1)}")
        with pytest.raises(
            ConfigError, match=r"rank 1: .*processor is cpu 1 .*, but cpu 0 .* on rank 0"
        ):
            require_same_machine(comm, "openblas 1")


@pytest.mark.mpi
def test_overlap_sends_every_number_once_and_early(comm: Any) -> None:
    """Pieces cover the gradient, the output layer first; one rank has nothing to send."""
    if comm.size == 1:
        return
    settings = config("gemm", "float64", 37, "overlap")
    network = make_network(settings, dataset().n_in, dataset().n_out)
    trainer = make_trainer(
        comm, settings, dataset(), network, initial_parameters(network, 0),
        Resources(1, False, blas_library.find()),
    )  # fmt: skip
    warm_up(trainer)
    engine: Any = trainer.engine
    assert isinstance(trainer.reduction, Overlap)
    spans = []
    for phase in engine.plan.schedule.phases:
        if phase.kind == 3:
            piece = engine._piece(phase)
            begin = (piece.ctypes.data - engine._gradient.ctypes.data) // piece.itemsize
            spans.append((begin, begin + piece.size))
    covered = np.zeros(network.size, int)
    for begin, end in spans:
        covered[begin:end] += 1
    assert all((part == 1).all() for part in network.parts(covered).values())
    assert spans[0][0] == network.offsets[-1][0]  # the output layer first
    trainer.run(1, lambda number, epoch: None)
    assert trainer.reduction._reductions == 3
    assert 0 <= trainer.reduction.hidden_share <= 1


@pytest.mark.mpi
def test_the_clock_gives_waiting_to_the_reduction(comm: Any) -> None:
    clock = PhaseClock(comm)
    clock.begin_step(3)
    time.sleep(0.002)
    clock.lap(1, waited=0.0005, loaded=0.0002)
    clock.end_reduction()
    seconds, rows = clock.take()
    assert rows == 3
    np.testing.assert_allclose(seconds[0], 0.0002)
    np.testing.assert_allclose(seconds[2] + seconds[3], 0.0005)
    assert seconds[1] >= 0.0013


@pytest.mark.mpi
def test_hashes_agree_between_groups(comm: Any) -> None:
    settings = config("gemm", "float32", 37, "shared", 1)
    with sharing(comm, settings) as arena, planned(comm, settings, arena) as trainer:
        warm_up(trainer)
        trainer.run(1, lambda number, epoch: None)
        own = params_sha256(trainer.engine.network, trainer.engine.parameters)
        assert set(mpi.allgather_texts(comm, own)) <= {own}
