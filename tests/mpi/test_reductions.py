"""Every reduction gives the weights of ``reference``, over groups and threads as well."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpcpgd.config.run_config import RunConfig
from hpcpgd.engines.parameters import params_sha256
from hpcpgd.environment import provenance
from hpcpgd.errors import ConfigError, DivergedError, UnavailableError
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_clock import PhaseClock
from hpcpgd.reductions.overlap import Overlap
from hpcpgd.train.same_on_all_ranks import require_same_machine
from tests.mpi.test_equivalence import (
    BOUND,
    config,
    group_memory,
    planned,
    reference,
    require_near,
    require_same_bits,
    train,
)
from tests.mpi.test_stop import stopped_after

pytestmark = pytest.mark.mpi
WAYS = [
    ("overlap", "node"), ("shared", "node"), ("shared", 1), ("shared", 2),
    ("reproducible", "node"), ("reproducible", 1), ("reproducible", 2),
]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", [37, 2, "full"])
@pytest.mark.parametrize(("reduction", "group_size"), WAYS)
def test_weights_after_three_epochs(
    comm: Any, reduction: str, group_size: int | str, batch: int | str, dtype: str, threads: int
) -> None:
    """On 3 ranks groups of at most 2 are unequal; batch 2 leaves ranks without rows."""
    settings = config("gemm", dtype, batch, reduction, group_size)
    require_near(train(comm, settings, threads), reference(batch), BOUND[dtype])


@pytest.mark.parametrize("backend", ["loops", "gemv"])
@pytest.mark.parametrize("batch", [37, 2])
def test_units_of_the_other_backends(comm: Any, backend: str, batch: int) -> None:
    found = train(comm, config(backend, "float64", batch, "reproducible", 2))
    require_near(found, reference(batch), BOUND["float64"])


@pytest.mark.parametrize("group_size", ["node", 1, 2])
@pytest.mark.parametrize("backend", ["gemm", "loops", "gemv"])
def test_the_bits_of_one_rank(comm: Any, backend: str, group_size: int | str) -> None:
    settings = config(backend, "float32", 37, "reproducible", group_size)
    require_same_bits(train(comm, settings), train(mpi.MPI.COMM_SELF, settings))


@pytest.mark.parametrize(("reduction", "group_size"), WAYS)
def test_all_stop_after_the_same_step(comm: Any, reduction: str, group_size: int | str) -> None:
    assert stopped_after(comm, config("gemm", "float32", 7, reduction, group_size)) == 1


def require_noticed(comm: Any, settings: RunConfig, bad: float) -> None:
    """A weight is wrong on one rank, or on its group if the group shares the weights."""
    with planned(comm, settings) as trainer:
        comm.Barrier()
        if comm.rank == comm.size - 1:
            trainer.engine.network.weights(trainer.engine.parameters, 1)[:, 3] = bad
        comm.Barrier()
        with pytest.raises(DivergedError, match="the gradient at epoch 1, step 1 "):
            trainer.run(1, lambda number, epoch: None)


@pytest.mark.parametrize(("reduction", "group_size"), WAYS)
def test_all_notice_nan_after_the_same_step(
    comm: Any, reduction: str, group_size: int | str
) -> None:
    require_noticed(comm, config("gemm", "float32", 37, reduction, group_size), np.nan)


def test_parameters_are_held_once_a_group(comm: Any) -> None:
    """What one rank of a group writes, the others read: it is the same memory."""
    with group_memory(comm, 2) as arena:
        words = arena.allocate(10, np.float64)
        assert words.ctypes.data % 64 == 0
        if arena.group.index == 0:
            words[:] = comm.rank + 1
        comm.Barrier()
        assert (words == comm.rank - arena.group.index + 1).all()
        assert sum(arena.group.sizes) == comm.size
        assert max(arena.group.sizes) <= 2
        comm.Barrier()


def test_too_little_shared_memory_is_refused_on_all_ranks(
    comm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To write to pages that do not exist would kill the ranks."""
    full = SimpleNamespace(f_bavail=1000, f_frsize=4096)
    monkeypatch.setattr("hpcpgd.parallel.groups.os.statvfs", lambda path: full)
    with group_memory(comm) as arena:
        assert arena.allocate(1000, np.float64).size == 1000
        if comm.size > 1:
            with pytest.raises(UnavailableError, match=r"5 MiB .* 4 MiB are free: .*allreduce"):
                arena.allocate(5 * 2**20, np.uint8)


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


def test_overlap_sends_every_number_once_and_early(comm: Any) -> None:
    """Pieces cover the gradient, the output layer first; one rank has nothing to send."""
    if comm.size == 1:
        return
    with planned(comm, config("gemm", "float64", 37, "overlap")) as trainer:
        engine: Any = trainer.engine
        assert isinstance(trainer.reduction, Overlap)
        spans = []
        for phase in engine.plan.schedule.phases:
            if phase.kind == 3:
                piece = engine._piece(phase)
                begin = (piece.ctypes.data - engine._gradient.ctypes.data) // piece.itemsize
                spans.append((begin, begin + piece.size))
        covered = np.zeros(engine.network.size, int)
        for begin, end in spans:
            covered[begin:end] += 1
        assert all((part == 1).all() for part in engine.network.parts(covered).values())
        assert spans[0][0] == engine.network.offsets[-1][0]  # the output layer first
        trainer.run(1, lambda number, epoch: None)
        assert trainer.reduction._reductions == 3
        assert 0 <= trainer.reduction.hidden_share <= 1


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


def test_hashes_agree_between_groups(comm: Any) -> None:
    with planned(comm, config("gemm", "float32", 37, "shared", 1)) as trainer:
        trainer.run(1, lambda number, epoch: None)
        own = params_sha256(trainer.engine.network, trainer.engine.parameters)
        assert set(mpi.allgather_texts(comm, own)) <= {own}
