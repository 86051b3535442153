"""``hpcpgd export``: what other libraries make of the files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnxruntime
import pytest
import safetensors

from hpcpgd.data import load
from hpcpgd.predict.export import FORMATS, main
from tests.helpers.many import Case, together
from tests.helpers.support import Done, inside, python
from tests.predict.test_predict import FUNCTIONS, MEANT, WORDS, folder, independent

__all__ = ["folder"]  # a fixture


def by_arrays(arrays: dict[str, Any], facts: Any, x: Any) -> Any:
    """Return the outputs by exported arrays alone."""
    a = x * arrays["input_scale"] + arrays["input_offset"]
    a = (a - arrays.get("input_mean", 0)) / arrays.get("input_deviation", 1)
    layers = sum(name.endswith(".weights") for name in arrays)
    for n in range(1, layers + 1):
        z = a @ arrays[f"layer{n}.weights"] + arrays[f"layer{n}.biases"]
        a = FUNCTIONS[str(facts["output_activation" if n == layers else "activation"])](z)
    return a * arrays.get("target_deviation", 1) + arrays.get("target_mean", 0)


def read(path: Path, x: Any, key: str = "class_labels") -> tuple[Any, Any]:
    """Return outputs and labels, or a regression's numbers and names, by the file's own library."""
    if path.suffix == ".npz":
        arrays = dict(np.load(path))
        return by_arrays(arrays, arrays, x), arrays[key].tolist()
    if path.suffix == ".safetensors":
        with safetensors.safe_open(path, "numpy") as file:
            facts, names = file.metadata(), list(file.keys())
            arrays = {name: file.get_tensor(name) for name in names}
        return by_arrays(arrays, facts, x), json.loads(facts[key])
    session = onnxruntime.InferenceSession(path)
    outputs, predicted = session.run(["outputs", "predicted"], {"features": x.astype(float)})
    labels = json.loads(session.get_modelmeta().custom_metadata_map[key])
    if key == "target_names":
        return predicted, labels
    assert (predicted == outputs.argmax(axis=1)).all()
    return outputs, labels


@pytest.mark.parametrize("run", ["digits", "pixels", "own"])
@pytest.mark.parametrize("to", FORMATS)
def test_the_outputs_are_those_of_the_run_file(to: str, run: str, folder: Path) -> None:
    done = inside(folder, main, f"{run}.h5", "--to", to, "--output", f"{run}-out.{to}")
    assert (done.code, done.err, done.out) == (0, "", f"{to:<12}{run}-out.{to}\n")
    name = str(folder / "own.npz") if run == "own" else "digits"
    x = load(name, seed=0, dtype="float64").train.features
    outputs, labels = read(folder / f"{run}-out.{to}", x)
    np.testing.assert_allclose(outputs, independent(folder, run, x), atol=1e-6)
    assert labels == (WORDS.tolist() if run == "own" else [str(n) for n in range(10)])


@pytest.mark.parametrize("to", FORMATS)
def test_a_regression_predicts_in_the_units_of_its_data(to: str, folder: Path) -> None:
    inside(folder, main, "numbers.h5", "--to", to, "--output", f"numbers-out.{to}").good()
    x = np.load(folder / "numbers.npz")["x"]
    numbers, names = read(folder / f"numbers-out.{to}", x, "target_names")
    np.testing.assert_allclose(numbers, independent(folder, "numbers", x), atol=1e-6)
    assert names == ["0", "1"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("own.h5 --to onxx", 2, "--to onxx: expected one of npz, safetensors, onnx; did you mean"),
        ("own.npz --to onnx", 65, "own.npz: is no HDF5 file, expected a run file"),
        ("wild.h5 --to npz", 65, "wild.h5: has no weights, status 'diverged'"),
        ("own.h5 --to npz", 74, "--output own.npz: exists: give another name"),
        ("own.h5 --to onnx", 69, "onnx cannot be loaded: "),
        ("own.h5 --to safetensors", 69, "pip install 'hpcpgd[export]'"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: str, code: int, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    inside(folder, main, *words.split()).one_line(code, says, out="")


def test_one_rank_of_three_works(folder: Path) -> None:
    words = ("-m", "hpcpgd", "export", "own.h5", "--to", "npz", "--output", "three.npz")
    for code, out in ((0, "npz         three.npz\n"), (74, "")):
        done = python(*words, ranks=3, cwd=folder)
        assert (done.code, done.out) == (code, out)
    assert done.err.count("error: --output three.npz: exists") == 1


# A step that is too small to change a weight.
STEP = f"--dataset own.npz {MEANT} --learning-rate 1e-300 --max-steps 1 --initial-weights"
BEGUN = {"run": "own.h5", "npz": "w.npz --standardise", "safetensors": "w.safetensors --seed 3"}
BAD = {
    "own.h5 --hidden 7": "of 4-8-5-3 with tanh and sigmoid, classification, expected 4-7-3 with ",
    "nan.npz": "nan.npz: model: has weights that are not finite in float64",
    "huge.npz --dtype float32 --learning-rate 1": "has weights that are not finite in float32",
    "half.npz": "half.npz: has layer1.weights of float16, expected the floats of an export",
    "more.npz": "more.npz: has layer9.weights of float64, expected the floats of an export",
    "less.npz": "less.npz: model/layer2/biases: expected a dataset of this file, found nothing",
    "cut.npz": "cut.npz: cannot be read: ",
}


def train(folder: Path, key: str, words: str, ranks: int) -> Case:
    return Case(("train", *f"{STEP} {words} --output {key}.h5".split()), str(folder), ranks)


@pytest.fixture(scope="module")
def begun(folder: Path) -> dict[str, Done]:
    """What training makes of good and of bad files, by their key and the number of ranks."""
    for to in ("npz", "safetensors"):
        inside(folder, main, "own.h5", "--to", to, "--output", f"w.{to}")
    arrays: dict[str, Any] = dict(np.load(folder / "w.npz"))
    weights = arrays["layer1.weights"]
    for name, changes in {
        "nan": {"layer1.weights": np.nan * weights}, "huge": {"layer1.weights": 1e300 * weights},
        "half": {"layer1.weights": weights.astype("f2")}, "more": {"layer9.weights": weights},
    }.items():  # fmt: skip
        np.savez(folder / name, **{**arrays, **changes})
    np.savez(folder / "less", **{k: v for k, v in arrays.items() if k != "layer2.biases"})
    (folder / "cut.npz").write_bytes((folder / "w.npz").read_bytes()[:-40])
    cases = {f"{k}{n}": train(folder, f"{k}{n}", w, n) for k, w in BEGUN.items() for n in (1, 3)}
    return together(cases | {f"{w}{n}": train(folder, "no", w, n) for w in BAD for n in (1, 3)})


@pytest.mark.parametrize("key", BEGUN)
def test_a_run_begins_with_the_weights_of_a_file(key: str, folder: Path, begun: Any) -> None:
    with h5py.File(folder / "own.h5") as file:
        digest = file.attrs["params_sha256"]
    scaled = "; its inputs: x * 1 + 0; here: standardised, mean " * (key == "npz")
    for ranks in (1, 3):
        done = begun[f"{key}{ranks}"].good()
        line = f"initial weights: {BEGUN[key].split()[0]}, params_sha256 {digest[:12]}{scaled}"
        assert done.out.count(line) == 1
        with h5py.File(folder / f"{key}{ranks}.h5") as run:
            assert run.attrs["params_sha256"] == digest
            assert run["segments/initial_sha256"].asstr()[0] == digest


@pytest.mark.parametrize("words", BAD)
def test_weights_that_do_not_fit_are_refused(words: str, begun: dict[str, Done]) -> None:
    for done in (begun[f"{words}{ranks}"] for ranks in (1, 3)):
        done.one_line(65, BAD[words])


def test_a_checkpoint_wins_over_the_file(folder: Path, begun: dict[str, Done]) -> None:
    (folder / "w.npz").unlink()
    other = "initial_weights is own.h5 now, w.npz there: give the same"
    for name, code, says in (("w.npz --max-steps 2", 0, ""), ("own.h5", 78, other)):
        (done,) = together({"": train(folder, "npz1", f"{name} --standardise", 1)}).values()
        assert (done.code, says in done.err) == (code, True), done.err
