"""The collectives of hpcpgd.parallel.mpi, and decisions that all ranks make together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hpcpgd.data import load, prepare
from hpcpgd.errors import ConfigError, DataError, HpcpgdError
from hpcpgd.machine import cores
from hpcpgd.parallel import mpi
from hpcpgd.parallel.phase_clock import PhaseClock
from hpcpgd.parallel.phase_names import DATA, REDUCE, UPDATE, WAIT
from hpcpgd.train.distribute import share
from tests.helpers.support import physical_cores

pytestmark = pytest.mark.mpi


def test_join_counts_ranks_and_nodes(comm: Any) -> None:
    ranks = mpi.join(comm)
    assert (ranks.rank, ranks.size) == (comm.rank, comm.size)
    assert ranks.nodes == 1
    assert ranks.node.size == comm.size
    assert mpi.MPI.Comm.Compare(ranks.comm, comm) == mpi.MPI.CONGRUENT
    mpi.leave(ranks)


def test_sums_minima_and_rows(comm: Any) -> None:
    array = np.arange(5.0) + comm.rank
    mpi.allreduce_sum(comm, array)
    assert np.array_equal(array, comm.size * np.arange(5.0) + sum(range(comm.size)))
    assert mpi.allreduce_max(comm, float(comm.rank)) == comm.size - 1
    least = np.array([comm.rank + 3.0])
    mpi.allreduce_min(comm, least)
    assert least[0] == 3
    rows = mpi.gather(comm, np.array([comm.rank, 7]))
    expected = np.array([[rank, 7] for rank in range(comm.size)])
    if comm.rank:
        assert rows is None
    else:
        np.testing.assert_array_equal(rows, expected)
    assert np.array_equal(mpi.allgather(comm, np.array([comm.rank, 7])), expected)


def test_broadcasts_in_pieces(comm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpi, "PIECE", 7)
    root = comm.size - 1
    array = np.arange(11, dtype=np.int32) * (comm.rank == root)
    mpi.bcast(comm, array, root)
    assert np.array_equal(array, np.arange(11))
    text = "größer".encode() if comm.rank == root else b""
    assert mpi.bcast_bytes(comm, text, root) == "größer".encode()
    assert mpi.bcast_bytes(comm, b"", root) == b""


def test_texts_of_any_length(comm: Any) -> None:
    texts = mpi.allgather_texts(comm, "é" * comm.rank)
    assert texts == ["é" * rank for rank in range(comm.size)]


def test_an_error_on_one_rank_is_raised_on_all(comm: Any) -> None:
    bad = comm.size - 1

    def fail() -> None:
        with mpi.agreed(comm):
            if comm.rank == bad:
                raise ConfigError("one\ntwo")

    with pytest.raises(ConfigError, match="one two") as caught:
        fail()
    assert caught.value.agreed


def test_the_lowest_rank_speaks_where_several_fail(comm: Any) -> None:
    def fail() -> None:
        with mpi.agreed(comm):
            raise (DataError if comm.rank == 0 else ConfigError)(f"rank {comm.rank}")

    with pytest.raises(HpcpgdError, match="rank 0") as caught:
        fail()
    assert caught.value.exit_code == 65
    with mpi.agreed(comm):
        pass


def test_fair_share_of_the_cores(comm: Any) -> None:
    ranks = mpi.join(comm)
    usable = min(physical_cores(), cores.quota())
    assert cores.fair_share(ranks) == pytest.approx(usable / comm.size)
    mpi.leave(ranks)


def test_ranks_of_one_machine_find_each_other(comm: Any) -> None:
    """Whatever the nodes are: of four virtual ones, every second may be the same machine."""
    mine = mpi.same_machine(comm, b"even" if comm.rank % 2 == 0 else b"odd")
    assert mine.size == len(range(comm.rank % 2, comm.size, 2))
    assert mine.rank == comm.rank // 2
    mine.Free()


def test_a_dataset_reaches_every_rank_whole(comm: Any) -> None:
    mine = prepare(load("digits", seed=0), seed=3, train_rows=84, test_fraction=None)
    ranks = mpi.join(comm)
    theirs = share(ranks, mine if comm.rank == 0 else None)
    mpi.leave(ranks)
    assert (theirs.name, theirs.sha256, theirs.scale) == ("digits", mine.sha256, 1 / 16)
    for name in ("train", "validation", "test"):
        a, b = getattr(mine, name), getattr(theirs, name)
        assert a.features.dtype == b.features.dtype == np.uint8
        assert np.array_equal(a.features, b.features)
        assert np.array_equal(a.labels, b.labels)


def test_waiting_is_what_the_last_rank_does_not_do(comm: Any) -> None:
    """The clock sees made-up times: every rank's reduction took 1 s and rank seconds more."""
    clock = PhaseClock(comm)
    for _ in range(3):
        clock.begin_step(10)
        clock.lap(DATA)
        clock._last -= 1.0 + comm.rank
        clock.lap_reduction()
        clock.end_reduction()
        clock.lap(UPDATE)
    seconds, rows = clock.take()
    assert rows == 30
    assert seconds[REDUCE] == pytest.approx(3.0, abs=0.2)
    assert seconds[WAIT] == pytest.approx(3.0 * comm.rank, abs=0.2)
    again, none = clock.take()
    assert not again.any()
    assert none == 0


def test_what_the_gpu_s_probe_asks_of_mpi(comm: Any) -> None:
    """The probe gets arrays on the host, which every MPI library sends and adds."""
    ones, twos = np.ones(1000, np.float32), np.full(1000, 2, np.float32)
    moved = np.zeros(1000, np.float32)
    mpi.exchange_and_add(comm, ones, twos, moved)
    assert (moved == 1).all()
    assert (twos == 3).all()
    assert mpi.try_sum(comm, ones)
    assert (ones == comm.size).all()
