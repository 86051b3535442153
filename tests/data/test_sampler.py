"""Minibatches: every row exactly once an epoch, whatever the sizes and ranks."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcpgd.data.sampler import Sampler


def rows_of(sampler: Sampler, epoch: int, start: int, stop: int) -> list[int]:
    out = np.empty(stop - start, np.int64)
    sampler.numbers(epoch, start, out)
    return list(out)


@given(st.integers(1, 400), st.integers(1, 450), st.integers(0, 2**62), st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_every_row_once_an_epoch(rows: int, batch: int, seed: int, size: int) -> None:
    sampler = Sampler(rows, batch, seed)
    seen: list[int] = []
    for step in range(sampler.steps):
        start, stop = sampler.minibatch(step)
        assert 0 < stop - start <= batch
        slices = [sampler.slice(step, size, rank) for rank in range(size)]
        together = [row for a, b in slices for row in rows_of(sampler, 1, a, b)]
        assert together == rows_of(sampler, 1, start, stop)
        seen += together
    assert sorted(seen) == list(range(rows))


def test_only_the_last_minibatch_is_ragged() -> None:
    sampler = Sampler(100, 37, 0)
    sizes = [b - a for a, b in map(sampler.minibatch, range(sampler.steps))]
    assert sizes == [37, 37, 26]


def test_epochs_and_seeds_have_their_own_order() -> None:
    first = rows_of(Sampler(50, 10, 0), 1, 0, 50)
    assert first != rows_of(Sampler(50, 10, 0), 2, 0, 50)
    assert first != rows_of(Sampler(50, 10, 1), 1, 0, 50)
    assert first == rows_of(Sampler(50, 7, 0), 1, 0, 50)
