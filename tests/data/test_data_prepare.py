"""Splits: which rows go where, that no row is lost, and synthetic data."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcpgd.data import Dataset, RawData, Split, load, prepare
from hpcpgd.data.dataset import sha256
from hpcpgd.data.rng_streams import STREAM_SPLIT, STREAM_SYNTHETIC
from hpcpgd.environment import memory_limits
from hpcpgd.errors import ConfigError, DataError
from hpcpgd.kernels.core.permutation import permutation


def numbered(rows: int, start: int = 0) -> Split:
    """Rows that carry their own number in both arrays."""
    ids = np.arange(start, start + rows)
    return Split(np.stack([ids, -ids], axis=1).astype(np.float64), ids.astype(np.int32))


def raw(rows: int, validation: int = 0, test: int = 0, fraction: float = 0.0) -> RawData:
    return RawData(
        name="numbers",
        train=numbered(rows),
        validation=numbered(validation, 1000) if validation else None,
        test=numbered(test, 2000) if test else None,
        n_out=3000,
        scale=1.0,
        offset=0.0,
        labelled=True,
        test_fraction=fraction,
    )


def splits(data: Dataset) -> tuple[Split, Split, Split]:
    return data.train, data.validation, data.test


def test_the_papers_split() -> None:
    data = prepare(raw(600, test=10), seed=7, train_rows=None, test_fraction=None)
    order = permutation(600, 7, STREAM_SPLIT)
    np.testing.assert_array_equal(data.train.labels, order[:500])
    np.testing.assert_array_equal(data.validation.labels, order[500:])
    np.testing.assert_array_equal(data.test.labels, np.arange(2000, 2010))


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(2, 300),
    seed=st.integers(0, 2**63 - 1),
    fraction=st.one_of(st.none(), st.floats(0, 0.5)),
    kept=st.floats(0, 1),
)
def test_nobody_is_lost_or_twice(rows: int, seed: int, fraction: float | None, kept: float) -> None:
    everyone = raw(rows, fraction=0.2)
    held_out = round(rows * (0.2 if fraction is None else fraction))
    left = rows - held_out
    train_rows = 1 + int(kept * (left - left // 6 - 1))
    data = prepare(everyone, seed=seed, train_rows=train_rows, test_fraction=fraction)
    assert data.test.rows == held_out
    assert data.train.rows == train_rows
    assert data.validation.rows == min(train_rows // 5, left - train_rows)
    ids = np.concatenate([split.labels for split in splits(data)])
    assert np.unique(ids).size == ids.size == train_rows + held_out + data.validation.rows
    for split in splits(data):
        np.testing.assert_array_equal(split.features[:, 0], split.labels)
        assert split.features.flags.c_contiguous


def test_train_rows_are_the_first_of_the_same_order() -> None:
    data = prepare(raw(100), seed=5, train_rows=25, test_fraction=None)
    order = permutation(100, 5, STREAM_SPLIT)
    np.testing.assert_array_equal(data.train.labels, order[:25])
    np.testing.assert_array_equal(data.validation.labels, order[25:30])
    assert data.test.features.shape == (0, 2)
    assert data.test.labels.dtype == np.int32


def test_own_validation_set_is_kept() -> None:
    everyone = raw(50, validation=9)
    data = prepare(everyone, seed=5, train_rows=None, test_fraction=None)
    assert data.train is everyone.train
    assert data.validation is everyone.validation
    data = prepare(everyone, seed=5, train_rows=20, test_fraction=0.1)
    assert (data.train.rows, data.validation.rows, data.test.rows) == (20, 9, 5)
    assert not set(data.train.labels) & set(data.test.labels)


def test_the_split_depends_on_the_seed_and_the_hash_does_not() -> None:
    one, same, other = (
        prepare(raw(60), seed=seed, train_rows=None, test_fraction=0.5) for seed in (1, 1, 2)
    )
    for first, second, third in zip(splits(one), splits(same), splits(other), strict=True):
        np.testing.assert_array_equal(first.labels, second.labels)
        assert not np.array_equal(first.labels, third.labels)
    assert one.sha256 == other.sha256 == sha256(raw(60))


def test_hash_by_hand() -> None:
    text = b"x_train <f8 2x2\n" + np.array([[0, -0.0], [1, -1]], "<f8").tobytes()
    text += b"y_train <i4 2\n" + np.array([0, 1], "<i4").tobytes()
    text += b"x_test <f8 0x2\ny_test <i4 0\n"
    empty = Split(np.empty((0, 2)), np.empty(0, np.int32))
    two = RawData("a", numbered(2), None, empty, 2, 1.0, 0.0, True)
    two.train.features[0, 1] = -0.0
    assert sha256(two) == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("data", "train_rows", "fraction", "message"),
    [
        (raw(50), 43, None, "train rows 43: numbers has 50 training rows, 42 without the val"),
        (raw(50, 9), 51, None, "train rows 51: numbers has 50 training rows, expected 1 to 50"),
        (raw(50), 35, 0.2, "train rows 35: numbers has 40 training rows"),
        (raw(50), 0, None, "train rows 0: numbers has 50 training rows"),
        (raw(50, test=7), None, 0.1, "test fraction 0.1: numbers has a test set of 7 rows"),
        (raw(50), None, 1.0, "test fraction 1: expected a number from 0 to below 1"),
        (raw(50), None, -0.1, "test fraction -0.1: expected"),
        (raw(50), None, float("nan"), "test fraction nan: expected"),
    ],
)
def test_impossible_splits(
    data: RawData, train_rows: int | None, fraction: float | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(data, seed=0, train_rows=train_rows, test_fraction=fraction)


def test_nothing_left_to_train_with() -> None:
    with pytest.raises(DataError, match="no training row is left of 3 after 3 for testing"):
        prepare(raw(3), seed=0, train_rows=None, test_fraction=0.9)


def philox(key: tuple[int, int], count: int) -> list[int]:
    """Philox4x64-10 as its paper (Salmon et al., 2011) defines it; NumPy counts from 1."""
    mask, out = 2**64 - 1, []
    for block in range(1, count // 4 + 2):
        c, (k0, k1) = [block, 0, 0, 0], key
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [b >> 64 ^ c[1] ^ k0, b & mask, a >> 64 ^ c[3] ^ k1, a & mask]
            k0, k1 = k0 + 0x9E3779B97F4A7C15 & mask, k1 + 0xBB67AE8584CAA73B & mask
        out += c
    return out[:count]


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_synthetic_against_philox_by_hand(seed: int) -> None:
    data = load("synthetic:7x5x3", seed=seed)
    words = philox((seed, STREAM_SYNTHETIC), 7 + 5)
    np.testing.assert_array_equal(data.train.labels, [word % 3 for word in words[:7]])
    pixels = b"".join(word.to_bytes(8, "little") for word in words[7:])[:35]
    assert data.train.features.tobytes() == pixels
    assert data.train.features.shape == (7, 5)
    assert data.train.features.dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    assert (data.n_out, data.has_accuracy, data.test) == (3, False, None)


def test_synthetic_by_seed_and_within_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [sha256(load("synthetic:100x8x3", seed=seed)) for seed in (0, 1, 2)]
    assert all(a != b for a, b in pairwise(hashes))
    with pytest.raises(DataError, match=r"needs .* GiB of memory, this machine has"):
        load("synthetic:999999999999x999999x10", seed=0)
    monkeypatch.setattr(memory_limits, "physical_memory", lambda: 2000)
    with pytest.raises(DataError, match="synthetic:100x8x3: needs"):
        load("synthetic:100x8x3", seed=0)
