"""``hpcpgd predict``: outputs and classes of rows, the same on any number of ranks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

from hpcpgd.data import load
from tests.helpers.many import Case, together
from tests.helpers.support import Done

WORDS = np.array(["cat", "cow", "dog"])
ROWS = 1300  # three blocks, the last of them not full
FUNCTIONS: dict[str, Any] = {
    "gelu": lambda z: z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
}
MEANT = "--activation tanh --output-activation sigmoid --loss mse --dtype float64 --hidden 8,5"
TRAIN = {
    "digits": "--output digits.h5",
    "pixels": "--standardise --output pixels.h5",
    "own": f"--dataset own.npz --output own.h5 {MEANT}",
    "changed": "--dataset changed.npz --output changed.h5",
    "far": "--dataset far.npz --output far.h5",
    "numbers": "--dataset numbers.npz --task regression --standardise --activation gelu "
    "--dtype float64 --output numbers.h5",
    "wild": "--loss mse --output-activation linear --learning-rate 1e30 --output wild.h5",
}
PREDICT = {
    "test": "digits.h5 --output test.npz",
    "pixels": "pixels.h5 --output pixels.csv --split validation",
    "far": "far.h5 --output fard.npz",
    "shown": "own.h5 --split all",
    "whole": "own.h5 --split all --output whole.h5",
    "one": "own.h5 --dataset one.csv --output single.csv",
    "bare": "own.h5 --dataset bare.npz --output bared.npz",
    "plain": "own.h5 --dataset plain.csv --label-column none --output plain.npz",
}
BAD = {
    "columns": (65, "own.h5 --dataset digits --output no.npz", "digits: has classes 0 to 9, exp"),
    "narrow": (
        65,
        "own.h5 --dataset plain.csv --output no.npz",
        "plain.csv: line 1, column 4: '-1.30",
    ),
    "wide": (65, "own.h5 --dataset wide.npz --output no.npz", "wide.npz: has 5 columns of feat"),
    "label": (65, "own.h5 --dataset label.csv --output no.npz", "label emu at row 1 (counted fr"),
    "no rows": (65, "own.h5 --output no.npz", "own.npz: has no test rows, expected --split train"),
    "exists": (74, "own.h5 --split all --output own.npz", "--output own.npz: exists: give another"),
    "itself": (2, "own.h5 --split all --overwrite --output own.h5", "is the run file itself"),
    "split": (2, "own.h5 --split tests --output no.npz", "expected one of train, validation, test"),
    "ending": (2, "own.h5 --output no.txt", "--output no.txt: expected a name in .npz, .csv, .h5"),
    "changed": (
        65,
        "changed.h5 --output no.npz",
        "changed.npz: is not what the run was trained on",
    ),
    "kind": (65, "own.npz --output no.npz", "own.npz: is no HDF5 file, expected a run file"),
    "weights": (65, "wild.h5 --output no.npz", "wild.h5: has no weights, status 'diverged'"),
    "folder": (74, "digits.h5 --output there/no.npz", "there is no folder there; make it first"),
    "column": (78, "digits.h5 --label-column 1 --output no.npz", "applies only to text files"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of datasets and of runs."""
    folder = tmp_path_factory.mktemp("predict")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, 4))
    y = WORDS[x[:, :3].argmax(axis=1)]
    np.savez(folder / "own.npz", x=x, y=y)
    np.savez(folder / "changed.npz", x=x, y=y)
    np.savez(folder / "far.npz", x=x, y=y, x_test=1e4 * x, y_test=np.roll(y, 1))
    np.savez(folder / "numbers.npz", x=x, y=20 + 3 * x[:, :2])
    np.savez(folder / "bare.npz", x=x[:9])
    np.savez(folder / "wide.npz", x=np.ones((2, 5)), y=["cat", "dog"])
    np.savetxt(folder / "plain.csv", x[:9], delimiter=",")
    (folder / "one.csv").write_text(_line(x[3], "dog"))
    (folder / "label.csv").write_text(_line(x[3], "dog") + _line(x[2], "emu"))
    words = {k: ("train", *v.split(), "--epochs", "2", "--quiet") for k, v in TRAIN.items()}
    done = together({k: Case(v, str(folder), 0) for k, v in words.items()})
    assert {k: d.code for k, d in done.items()} == {**dict.fromkeys(TRAIN, 0), "wild": 3}
    np.savez(folder / "changed.npz", x=-x, y=y)
    return folder


def _line(row: Any, label: str) -> str:
    return ",".join(map(repr, [*row.tolist(), label])).replace("'", "") + "\n"


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, Done]:
    """What the program does on 1, 3 and 7 ranks, each in a folder of its own, by case and ranks."""
    plan = {}
    for ranks in (1, 3, 7):
        place = folder / str(ranks)
        place.mkdir()
        for path in folder.iterdir():
            if path.suffix in (".h5", ".npz", ".csv"):
                (place / path.name).symlink_to(path)
        cases = PREDICT | {k: words for k, (_, words, _) in BAD.items() if ranks < 7}
        for name, text in cases.items():
            plan[f"{name} {ranks}"] = Case(("predict", *text.split()), str(place), ranks)
    return together(plan)


def test_without_output_only_the_scores_are_shown(done: dict[str, Done]) -> None:
    shown, written = (done[f"{name} 1"].out.splitlines() for name in ("shown", "whole"))
    assert shown == [line for line in written if not line.startswith("output")]
    assert f"{'classes':<12}0 cat, 1 cow, 2 dog" in shown


def independent(folder: Path, name: str, x: Any) -> Any:
    """Return the outputs, or a regression's numbers, by the run file alone, in float64."""
    with h5py.File(folder / f"{name}.h5") as file:
        model = file["model"]
        a = x * model.attrs["input_scale"] + model.attrs["input_offset"]
        if "input_mean" in model:
            a = (a - model["input_mean"][...]) / model["input_deviation"][...]
        for layer in (f"layer{n}" for n in range(1, 9) if f"layer{n}" in model):
            z = a @ model[layer]["weights"][...].astype(float) + model[layer]["biases"][...]
            a = FUNCTIONS[model[layer].attrs["activation"]](z)
        if "target_mean" in model:
            a = a * model["target_deviation"][...] + model["target_mean"][...]
    return a


@pytest.mark.parametrize("file", ["test.npz", "pixels.csv", "whole.h5", "bared.npz"])
def test_the_file_has_the_same_bytes_on_1_3_and_7_ranks(
    file: str, folder: Path, done: dict[str, Done]
) -> None:
    assert {k: (d.code, d.err) for k, d in done.items() if k.split()[0] in PREDICT} == {
        f"{name} {ranks}": (0, "") for name in PREDICT for ranks in (1, 3, 7)
    }
    first, *others = ((folder / str(ranks) / file).read_bytes() for ranks in (1, 3, 7))
    assert others == [first, first]


def test_the_test_rows_have_the_scores_of_the_run(folder: Path, done: dict[str, Done]) -> None:
    test = load("digits", seed=0).test
    assert test is not None
    got = np.load(folder / "3" / "test.npz")
    expected = independent(folder, "digits", test.features)
    np.testing.assert_allclose(got["outputs"], expected, atol=1e-6)
    assert got["outputs"].dtype == np.float32
    np.testing.assert_array_equal(got["predicted"], expected.argmax(axis=1))
    np.testing.assert_array_equal(got["true"], test.labels)
    said = dict(line.split(maxsplit=1) for line in done["test 3"].out.splitlines())
    with h5py.File(folder / "digits.h5") as file:
        confusion = file["test/confusion"][...]
        assert said["accuracy"] == f"{100 * file['test/accuracy'][()]:.2f} %"
        assert said["loss"] == f"{file['test/loss'][()]:.4f}"
    lines = done["test 3"].out.splitlines()[5:15]
    assert [[int(n) for n in line.split()[1:]] for line in lines] == confusion.tolist()


def test_the_loss_where_probabilities_underflow(folder: Path, done: dict[str, Done]) -> None:
    with h5py.File(folder / "far.h5") as file:
        loss = file["test/loss"][()]
    assert loss > 10
    assert f"loss        {loss:.4f}" in done["far 3"].out


def test_standardised_pixels_and_the_rows_of_a_split(folder: Path, done: dict[str, Done]) -> None:
    with h5py.File(folder / "pixels.h5") as file:
        loss, accuracy = (file[f"history/validation_{n}"][-1] for n in ("loss", "accuracy"))
    for text in (f"{loss:.4f}", f"{100 * accuracy:.2f} %", "250 of digits (validation)"):
        assert text in done["pixels 1"].out
    rows = list(csv.DictReader((folder / "1" / "pixels.csv").read_text().splitlines()))
    assert np.mean([row["true"] == row["predicted"] for row in rows]) == accuracy
    best = [max(map(str, range(10)), key=lambda k: float(row[f"output {k}"])) for row in rows]
    assert best == [row["predicted"] for row in rows]
    raw = load("digits", seed=0)
    assert raw.test is not None
    labels = np.concatenate([raw.train.labels, raw.test.labels])  # as --split all has them
    numbers = [int(row["row"]) for row in rows]
    assert [str(labels[n]) for n in numbers] == [row["true"] for row in rows]
    assert len(set(numbers)) == len(rows)
    assert max(numbers) < raw.train.rows


def test_all_rows_in_the_order_of_the_file(folder: Path, done: dict[str, Done]) -> None:
    x, y = (np.load(folder / "own.npz")[name] for name in "xy")
    expected = independent(folder, "own", x)
    with xarray.open_dataset(folder / "7" / "whole.h5", engine="h5netcdf") as got:
        assert got["outputs"].dims == ("row", "class")
        np.testing.assert_allclose(got["outputs"], expected, rtol=1e-12, atol=1e-14)
        assert got["class_labels"].to_numpy().tolist() == WORDS.tolist()
        assert (WORDS[got["true"]] == y).all()
        assert got["row"].to_numpy().tolist() == list(range(ROWS))
    loss = np.mean(((expected - (y[:, None] == WORDS)) ** 2).sum(axis=1))
    assert f"loss        {loss:.4f}" in done["whole 7"].out


def test_rows_of_one_class_and_rows_without_labels(folder: Path, done: dict[str, Done]) -> None:
    x = np.load(folder / "own.npz")["x"]
    row = next(csv.DictReader((folder / "1" / "single.csv").read_text().splitlines()))
    assert row["true"] == "dog"
    got = [float(row[f"output {word}"]) for word in WORDS]
    np.testing.assert_allclose(got, independent(folder, "own", x[3:4])[0], rtol=1e-12)
    for name, file in (("bare", "bared"), ("plain", "plain")):
        got = np.load(folder / "3" / f"{file}.npz")
        np.testing.assert_allclose(got["outputs"], independent(folder, "own", x[:9]), rtol=1e-12)
        assert set(got) == {"row", "outputs", "predicted", "class_labels"}
        lines = done[f"{name} 3"].out.splitlines()
        assert [line.split()[0] for line in lines] == ["rows", "output"]


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_line(
    name: str, ranks: int, folder: Path, done: dict[str, Done]
) -> None:
    code, _, says = BAD[name]
    seen = done[f"{name} {ranks}"]
    seen.one_line(code, says, out="")
    assert seen.err.startswith("hpcpgd predict: error: ")
    assert not (folder / str(ranks) / "no.npz").exists()
