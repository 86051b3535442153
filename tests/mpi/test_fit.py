"""``hpcpgd.fit`` and the estimators on communicators of a program's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpcpgd
from hpcpgd.errors import DataError
from hpcpgd.parallel import mpi

pytestmark = pytest.mark.mpi
X, Y = np.random.default_rng(0).random((90, 5)), np.arange(90) % 3
OPTIONS: dict[str, Any] = {"epochs": 2, "quiet": True, "reduction": "reproducible"}


def test_a_part_of_the_ranks_trains_to_the_bits_of_a_serial_run(comm: Any) -> None:
    """Other parts train other networks at the same time; the rows of the first rank count."""
    colour = int(comm.rank > 0)
    part = comm.Split(colour, comm.rank)
    for seed in (colour, colour + 2):
        each = [
            hpcpgd.fit(comm=c, data={"x_train": X + c.rank, "y_train": Y}, seed=seed, **OPTIONS)
            for c in (part, mpi.MPI.COMM_SELF)
        ]
        np.testing.assert_array_equal(*(fitted.model.parameters for fitted in each))
    part.Free()


def test_after_an_error_of_rank_0_all_train(
    comm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="every row has label 0"):
        hpcpgd.fit(comm=comm, data={"x_train": X, "y_train": Y * (comm.rank > 0)}, **OPTIONS)
    one = hpcpgd.MLPRegressor(options={**OPTIONS, "output": "auto"}).fit(X, Y)
    assert len(set(mpi.allgather_texts(comm, str(one.fitted_.path)))) == 1
    if comm.rank == comm.size - 1:  # no rank waits for another
        serial = hpcpgd.MLPRegressor(options=OPTIONS).fit(X, Y, comm=mpi.MPI.COMM_SELF)
        np.testing.assert_array_equal(one.predict(X), serial.predict(X))


def test_no_rank_waits_for_one_that_refuses_its_rows(comm: Any) -> None:
    """Without the exchange of facts rank 0 would train, and wait for ever."""
    if comm.size == 1:  # which has nobody to wait for
        return
    same, other = np.arange(90) % 2, np.zeros(90, int) if comm.rank else np.arange(90) % 2
    make = hpcpgd.MLPClassifier(options=OPTIONS)
    with pytest.raises((ValueError, DataError), match=r"1 class|give the same rows on every rank"):
        make.fit(X, other)
    with pytest.raises(DataError, match=r"fit: rank 1 has .*: give the same rows on every rank"):
        make.fit(X, same + 5 * (comm.rank > 0))
    assert make.fit(X, same).score(X, same) > 0
