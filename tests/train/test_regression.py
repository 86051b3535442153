"""Regression from a table of text to predictions: by NumPy alone, from the run file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpcpgd.data import load, prepare
from hpcpgd.engines.parameters import initial_parameters
from hpcpgd.kernels.core.network import Network
from tests.helpers.many import Case, together
from tests.helpers.support import Done
from tests.predict.test_predict import independent

ROWS = 400
TRAIN = "train --dataset t.csv --task regression --label-column 4,grams --epochs 15 --dtype float64"
RUNS = {
    "plain": f"{TRAIN} --hidden 9,7 --activation gelu,tanh --init he --output plain.h5",
    "scaled": f"{TRAIN} --standardise --optimizer adam --learning-rate 0.01 --output scaled.h5",
    "words": "train --dataset w.csv --task regression",
    "twice": "train --dataset t.csv --task regression --label-column grams,grams",
    "classes": "train --dataset digits --task regression",
    "labels": "train --dataset t.csv --label-column grams",
    "loss": f"{TRAIN} --loss cross-entropy",
    "layers": "train --hidden 5,5,5 --activation relu,gelu",
    "device": "train --backend cuda --activation gelu",
    "wild": f"{TRAIN} --learning-rate 1e30 --output wild.h5",
}
WRONG = {
    "words": (65, "column 2 ('b') has words, expected numbers for task regression"),
    "twice": (65, "--label-column grams,grams: names a column twice"),
    "classes": (78, "does not go with dataset digits, whose labels are classes"),
    "labels": (65, "--task regression predicts numbers"),
    "loss": (78, "loss cross-entropy does not go with task regression: use mse"),
    "layers": (78, "activation relu,gelu has 2 functions for 3 hidden layers: give one for all"),
    "device": (78, "leave activation gelu out, or use a backend of the host"),
    "itself": (74, "--output plain.h5: is a file that is read; give another name"),
    "wild": (3, ": give --standardise, or lower the learning rate (now 1e+30)"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tables: numbers to predict, and words."""
    folder = tmp_path_factory.mktemp("regression")
    random = np.random.default_rng(3)
    x = random.standard_normal((ROWS, 3)) * 5  # so far from 0 that --standardise is advised
    y = np.stack([np.sin(x[:, 0] / 3) + x[:, 1] / 2, x[:, 2] ** 2 / 25], 1)
    y += 0.1 * random.standard_normal(y.shape)
    table = np.column_stack([x, y])
    np.savetxt(folder / "t.csv", table, "%.17g", ",", header="p,q,r,metres,grams", comments="")
    (folder / "w.csv").write_text("a,b\n1,cat\n2,dog\n3,cat\n")
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Done]:
    cases = {name: Case(tuple(words.split()), str(folder), 1) for name, words in RUNS.items()}
    done = together(cases)
    rows = {
        name: Case(("predict", f"{name}.h5", "--output", f"{name}.npz"), str(folder), ranks)
        for name, ranks in (("plain", 1), ("scaled", 3))
    }
    again = f"{TRAIN} --output plain.h5 --overwrite --initial-weights plain.h5"
    done |= together({"itself": Case(tuple(again.split()), str(folder), 1)})
    return done | {f"{name} rows": one for name, one in together(rows).items()}


@pytest.mark.parametrize("name", ["plain", "scaled"])
def test_numbers_are_predicted(name: str, folder: Path, runs: dict[str, Done]) -> None:
    assert (runs[name].code, runs[name].err) == (0, "")
    assert (runs[f"{name} rows"].code, runs[f"{name} rows"].err) == (0, "")
    table = np.loadtxt(folder / "t.csv", delimiter=",", skiprows=1)
    rows = np.load(folder / f"{name}.npz")
    assert rows["target_names"].tolist() == ["metres", "grams"]
    places = [int(np.flatnonzero((table[:, 3:] == row).all(axis=1))[0]) for row in rows["true"]]
    assert len(set(places)) == ROWS // 5
    predicted = independent(folder, name, table[places, :3])
    with h5py.File(folder / f"{name}.h5") as run:
        tested, history = float(run["test/r2"][()]), run["history/validation_r2"][...]
        assert "accuracy" not in run["test"]
    np.testing.assert_allclose(rows["predicted"], predicted, rtol=0, atol=1e-9)
    said = dict(line.split(maxsplit=1) for line in runs[f"{name} rows"].out.splitlines())
    assert said["R2"] == f"{tested:.4f}"  # the same weights and rows have one R2
    residue, whole = rows["true"] - predicted, rows["true"] - rows["true"].mean(axis=0)
    scale = table[:, 3:].std(axis=0) if name == "scaled" else 1  # there both targets weigh alike
    r2 = 1 - ((residue / scale) ** 2).sum() / ((whole / scale) ** 2).sum()
    assert abs(r2 - tested) < 0.01
    assert history[-1] > max(history[0], 0.5)
    assert f"{history[-1]:.4f}" in runs[name].out


def test_initial_weights_of_he() -> None:
    net = Network((50, 300, 40), "float64")
    glorot, he = initial_parameters(net, 0), initial_parameters(net, 0, "he")
    for layer, fan_in, fan_out in ((1, 50, 300), (2, 300, 40)):
        ratio = net.weights(he, layer) / net.weights(glorot, layer)
        np.testing.assert_allclose(ratio, np.sqrt((fan_in + fan_out) / fan_in))


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_go_is_one_line(name: str, runs: dict[str, Done]) -> None:
    code, says = WRONG[name]
    runs[name].one_line(code, says)
    assert not runs[name].out or name == "wild"


@pytest.mark.parametrize("size", [1e200, 1e-170])
def test_targets_whose_squares_have_no_float64_are_standardised(
    size: float, tmp_path: Path
) -> None:
    y = np.random.default_rng(0).standard_normal((60, 2))
    np.savez(tmp_path / "t.npz", x=np.ones((60, 1)), y=y * size)
    raw = load(str(tmp_path / "t.npz"), seed=0, dtype="float64", regression=True)
    options: dict[str, Any] = {"seed": 0, "train_rows": None, "test_fraction": None}
    data = prepare(raw, **options, standardise="float64")
    np.testing.assert_allclose(data.train.labels.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.train.labels.std(axis=0), 1)
    assert abs(data.r2("train", 2.0)) < 1e-12


def test_equal_targets_have_no_r2(tmp_path: Path) -> None:
    """The mean of many times 0.1 is not 0.1: their variance is above 0."""
    np.savez(tmp_path / "t.npz", x=np.ones((60, 1)), y=np.full(60, 0.1))
    raw = load(str(tmp_path / "t.npz"), seed=0, dtype="float64", regression=True)
    data = prepare(raw, seed=0, train_rows=None, test_fraction=None)
    assert np.isnan(data.r2("train", 0.5))


def test_targets_of_one_name_have_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y,y\n1,2,3\n2,3,5\n3,4,5\n")
    raw = load(str(tmp_path / "t.csv"), seed=0, label_column="2,3", regression=True)
    assert (raw.n_out, raw.class_names) == (2, ())
