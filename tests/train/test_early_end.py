"""``--patience``, ``--target-accuracy``, the best weights over restarts, and clipped NaN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.helpers.many import Case, together

NOISE = "train --dataset noise.npz --batch-size 8 --hidden 40 --learning-rate 0.2 --reduction"
BITS = f"{NOISE} reproducible --epochs 60 --patience 4 --output"  # 7 steps an epoch
TARGET = "train --target-accuracy"
WILD = "train --clip-norm 1 --learning-rate 1e38 --reduction"
# Runs by name: exit code, ranks, words, and what they print.
FIRST: dict[str, Any] = {
    "whole": (0, 1, f"{BITS} whole.h5", "--patience 4: ended after epoch "),
    "bare": (0, 3, f"{NOISE} shared --epochs 2 --output bare.h5", ""),
    "target": (0, 3, f"{TARGET} 0.8 --output target.h5", "--target-accuracy 0.8: reached after "),
    "far": (0, 1, f"{TARGET} 0.99 --epochs 1 --output far.h5", "0.99: not reached\n"),
    "wild": (3, 3, f"{WILD} shared", "NaN or Inf in "),
    "wild bits": (3, 3, f"{WILD} reproducible", "NaN or Inf in "),
    "rows": (78, 3, "train --dataset few.npz --patience 1", "few.npz has no validation rows: "),
    "labels": (78, 1, f"{TARGET} 0.5 --dataset synthetic:99x8x3", "has no accuracy: leave"),
}


def check(folder: Path, expected: dict[str, Any]) -> None:
    cases = {k: Case(tuple(v[2].split()), str(folder), v[1]) for k, v in expected.items()}
    for name, done in together(cases).items():
        assert done.code == expected[name][0], (name, done.err)
        assert expected[name][3] in done.out + done.err, name


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs, some of which go on from others."""
    folder, rng = tmp_path_factory.mktemp("early"), np.random.default_rng(2)
    x, y = rng.normal(size=(60, 8)).astype("f4"), np.arange(60) % 3
    np.savez(folder / "noise.npz", x=x, y=y)  # there is nothing to learn but the rows
    np.savez(folder / "few.npz", x=x[:5], y=y[:5])
    check(folder, FIRST)
    with h5py.File(folder / "whole.h5") as file:
        best = int(file["history/validation_loss"][...].argmin()) + 1
    check(folder, {"cut": (0, 3, f"{BITS} cut.h5 --max-steps {7 * best + 17}", "")})
    check(folder, {
        "then": (0, 1, f"{BITS} cut.h5", f"loss has not fallen since epoch {best}\n"),
        "until": (0, 1, f"{BITS} until.h5 --epochs {best}", ""),
        "later": (0, 1, f"{BITS} bare.h5 --epochs 3", "the checkpoint has no best weights: a "),
        "again": (74, 1, f"{BITS} whole.h5", "this run is complete"),
        "more": (0, 2, f"{BITS} whole.h5 --patience 5", "--patience 5: ended after epoch "),
        "best": (0, 3, "predict cut.h5 --weights best --split all --output best.npz", ""),
        "same": (0, 1, "predict until.h5 --split all --output until.npz", ""),
        "export": (0, 1, "export cut.h5 --weights best --to npz --output export.npz", ""),
        "none": (65, 1, "export target.h5 --weights best --to npz", "has no best weights"),
        "info": (0, 1, "info target.h5", "target accuracy       0.8, reached after "),
        "info best": (0, 1, "info cut.h5", f"best weights          of epoch {best}, by its va"),
    })  # fmt: skip
    return folder


def test_the_best_weights_are_those_of_a_run_that_ends_there(runs: Path) -> None:
    """After a restart on another number of ranks, too: the bits."""
    with h5py.File(runs / "cut.h5") as cut, h5py.File(runs / "until.h5") as until:
        best, losses = len(until["history/epoch"]), cut["history/validation_loss"][...]
        assert (losses[best:] >= losses[best - 1]).all()
        assert (len(losses), cut["segments/ranks"][...].tolist()) == (best + 4, [3, 1])
        exported = np.load(runs / "export.npz")
        for name in ("layer1/weights", "layer1/biases", "layer2/weights", "layer2/biases"):
            truth = until["model"][name][...]
            assert np.array_equal(cut["best_model"][name], truth)
            assert np.array_equal(exported[name.replace("/", ".")], truth)
            assert not np.array_equal(cut["model"][name], truth)
    outputs = [np.load(runs / name)["outputs"] for name in ("best.npz", "until.npz")]
    assert np.array_equal(*outputs)


def test_the_target_ends_the_run_and_its_file_says_when(runs: Path) -> None:
    with h5py.File(runs / "target.h5") as file, h5py.File(runs / "far.h5") as far:
        accuracy, seconds = (file[f"history/{n}"] for n in ("validation_accuracy", "epoch_seconds"))
        assert (accuracy[...] >= 0.8).tolist() == [*[False] * (len(accuracy) - 1), True]
        values = [file[f"target/{n}"][()] for n in ("epochs", "steps", "seconds")]
        assert values == [len(accuracy), 40 * len(accuracy), seconds[...].sum()]
        assert np.isnan(far["target/seconds"][()])
