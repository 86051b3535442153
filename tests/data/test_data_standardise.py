"""What --standardise and the division into sets do to the columns and the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpcpgd.data import load, prepare
from hpcpgd.data.dataset import Dataset, RawData
from hpcpgd.errors import DataError
from tests.helpers.support import MINI

Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardised_by_the_training_rows(tmp_path: Path, dtype: str) -> None:
    x = np.random.default_rng(1).normal((5, 1e4, 7), (2, 1e5, 0), (90, 3))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(90) % 3, x_test=x[:9] + 1, y_test=Y[[0] * 9])
    raw = load(str(tmp_path / "a.npz"), seed=0, dtype=dtype)
    plain = prepare(raw, seed=4, train_rows=None, test_fraction=None)
    data = prepare(raw, seed=4, train_rows=None, test_fraction=None, standardise=dtype)
    mean, deviation = plain.train.features.mean(axis=0), plain.train.features.std(axis=0)
    deviation[2] = 1
    np.testing.assert_allclose(data.mean, mean)
    np.testing.assert_allclose(data.deviation, deviation)
    for name in ("train", "validation", "test"):
        got, given = getattr(data, name), getattr(plain, name)
        assert got.features.dtype == dtype
        expected = (given.features - mean) / deviation
        np.testing.assert_allclose(got.features, expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_array_equal(got.labels, given.labels)
    assert "1 of 3 never vary" in data.notes[-1]
    assert not any("training may be poor" in note for note in data.notes)
    assert data.sha256 == plain.sha256


def test_pixels_standardised(tmp_path: Path) -> None:
    raw = load(str(MINI), seed=0)
    data = prepare(raw, seed=0, train_rows=None, test_fraction=None, standardise="float32")
    moving = np.asarray(data.train.features).std(axis=0) > 0
    np.testing.assert_allclose(data.train.features[:, moving].std(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(data.train.features.mean(axis=0), 0, atol=1e-5)
    assert (data.scale, data.offset) == (1, 0)
    stored = prepare(raw, seed=0, train_rows=None, test_fraction=None).test.features
    again = (stored - np.array(data.mean)) / np.array(data.deviation)
    np.testing.assert_allclose(data.test.features, again, rtol=1e-5, atol=1e-5)


def test_a_class_that_the_split_leaves_without_training_rows_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(30), y=[0, 1] * 14 + [0, 5])
    raw = load(str(tmp_path / "a.npz"), seed=0)
    notes = set()
    for seed in range(12):
        data = prepare(raw, seed=seed, train_rows=None, test_fraction=0.4)
        missing = not (data.train.labels == 2).any()
        assert missing == ("no training row of class 5" in data.notes)
        notes.add(missing)
    assert notes == {False, True}


def test_an_outlier_is_named_where_columns_are_standardised(tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(20_000, 2))
    x[:, 1][x[:, 1].argmax()] = 1e30
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(len(x)) % 2, x_test=x[:9], y_test=[0] * 9)
    raw = load(str(tmp_path / "a.npz"), seed=0)
    seeds = [s for s in range(9) if "deviations from its mean" in str(_scaled(raw, s).notes)]
    assert len(seeds) == 9
    notes = [_scaled(raw, seed).notes[-1] for seed in seeds]
    assert all("; input 2 of " in note for note in notes)
    assert any("input 2 of train has a value" in note for note in notes)
    assert any("input 2 of validation has a value" in note for note in notes)


def _scaled(raw: RawData, seed: int) -> Dataset:
    return prepare(raw, seed=seed, train_rows=None, test_fraction=None, standardise="float64")


def test_a_column_may_vary_little_beside_its_mean_or_be_tiny_or_huge(tmp_path: Path) -> None:
    z = np.random.default_rng(5).normal(size=(60_000, 3))
    z -= z.mean(axis=0)
    z /= z.std(axis=0)
    x = z * (0.01, 1e-200, 1e300) + (1e9, 0, 0)
    np.savez(
        tmp_path / "a.npz", x_train=x, y_train=np.arange(len(x)) % 2, x_test=x, y_test=x[:, 0] > 1e9
    )
    raw = load(str(tmp_path / "a.npz"), seed=0, dtype="float64")
    data = _scaled(raw, 0)
    assert "never vary" not in data.notes[-1]
    np.testing.assert_allclose(data.test.features, z, atol=0.03)
    np.testing.assert_allclose(data.train.features.std(axis=0), 1, rtol=1e-6)


def test_values_that_the_new_features_cannot_hold_are_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(3).normal(size=(60, 2)) * (1, 1e-30)
    far = x[:3].copy()
    far[1, 1] = 1e20
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(60) % 2, x_test=far, y_test=[0, 1, 0])
    raw = load(str(tmp_path / "a.npz"), seed=0)
    with pytest.raises(DataError, match=r"row 1 of test .* in input 2 too many deviations"):
        prepare(raw, seed=0, train_rows=None, test_fraction=None, standardise="float32")
    assert "input 2 of test has a value" in _scaled(raw, 0).notes[-1]


def test_a_column_that_never_varies_becomes_0_in_spite_of_rounding(tmp_path: Path) -> None:
    x = np.stack([np.full(1000, 0.1), np.random.default_rng(2).normal(size=1000)], axis=1)
    assert x[:, 0].sum() / 1000 != 0.1  # what the deviation would then be divided by
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(1000) % 2)
    data = _scaled(load(str(tmp_path / "a.npz"), seed=0), 0)
    assert np.abs(data.train.features[:, 0]).max() < 1e-12
    assert "1 of 2 never vary" in data.notes[-1]
