"""``hpcpgd export``: what other libraries make of the files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcpgd.data import load
from hpcpgd.predict.export import main
from hpcpgd.results.model_reader import Model, read_model
from hpcpgd.results.result_reader import opened_result
from tests.helpers.support import inside, python
from tests.predict.test_predict import FUNCTIONS, folder, independent

__all__ = ["folder"]  # a fixture
RUNS = ("digits", "pixels", "own")


def exported(folder: Path, run: str, to: str) -> tuple[Path, Model, Any]:
    """Export a run; return the file, what the run file has, and features as stored."""
    words = (f"{run}.h5", "--to", to, "--output", f"{run}-out.{to}", "--overwrite")
    done = inside(folder, main, *words)
    assert (done.code, done.err, done.out) == (0, "", f"{to:<12}{run}-out.{to}\n")
    with opened_result(folder / f"{run}.h5") as file:
        model = read_model(file)
    name = str(folder / "own.npz") if run == "own" else "digits"
    features = load(name, seed=0, dtype="float64").train.features
    return folder / f"{run}-out.{to}", model, features


def outputs(arrays: Any, functions: tuple[str, str], x: Any) -> Any:
    """Return the outputs by the exported arrays alone."""
    a = x * arrays["input_scale"] + arrays["input_offset"]
    a = (a - arrays["input_mean"]) / arrays["input_deviation"] if "input_mean" in arrays else a
    layers = sum(name.endswith(".weights") for name in arrays)
    for n in range(1, layers + 1):
        z = a @ arrays[f"layer{n}.weights"] + arrays[f"layer{n}.biases"]
        a = FUNCTIONS[functions[n == layers]](z)
    return a


@pytest.mark.parametrize("run", RUNS)
def test_npz(run: str, folder: Path) -> None:
    path, model, x = exported(folder, run, "npz")
    arrays = dict(np.load(path))
    functions = str(arrays["activation"]), str(arrays["output_activation"])
    np.testing.assert_allclose(
        outputs(arrays, functions, x), independent(folder, run, x), atol=1e-6
    )
    assert tuple(arrays["class_labels"]) == model.labels
    assert arrays["layer1.weights"].dtype == model.network.dtype


@pytest.mark.parametrize("run", RUNS)
def test_safetensors(run: str, folder: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    path, model, x = exported(folder, run, "safetensors")
    with safetensors.safe_open(path, "numpy") as file:
        facts = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    functions = facts["activation"], facts["output_activation"]
    np.testing.assert_allclose(
        outputs(arrays, functions, x), independent(folder, run, x), atol=1e-6
    )
    assert tuple(json.loads(facts["class_labels"])) == model.labels


@pytest.mark.parametrize("run", RUNS)
def test_onnx(run: str, folder: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    path, model, x = exported(folder, run, "onnx")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    got, predicted = session.run(["outputs", "predicted"], {"features": x.astype(np.float64)})
    expected = independent(folder, run, x)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert got.dtype == model.network.dtype
    np.testing.assert_array_equal(predicted, got.argmax(axis=1))
    facts = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(facts["class_labels"])) == model.labels


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
    done = inside(folder, main, *words.split())
    assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 1)
    assert says in done.err


def test_one_rank_of_three_works(folder: Path) -> None:
    words = ("-m", "hpcpgd", "export", "own.h5", "--to", "npz", "--output", "three.npz")
    for code, out in ((0, "npz         three.npz\n"), (74, "")):
        done = python(*words, ranks=3, cwd=folder)
        assert (done.code, done.out) == (code, out)
    assert done.err.count("error: --output three.npz: exists") == 1
