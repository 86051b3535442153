"""The output of ``hpcpgd info`` and ``hpcpgd compare`` for small runs and for other files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpcpgd.info import cli
from tests.helpers.many import Case, together
from tests.helpers.support import inside, python

SAME = "--hidden 8 --epochs 3 --output"
MORE = "--hidden 8 --output more.h5 --checkpoint-every 40 --epochs"
WORDS = {
    "a": f"{SAME} a.h5",
    "b": f"{SAME} b.h5",
    "rate": f"{SAME} rate.h5 --learning-rate 0.5",
    "begun": f"{MORE} 2",
    "more": f"{MORE} 4",
    "wild": "--loss mse --output-activation linear --learning-rate 1e30 --output wild.h5",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs of two ranks, all made in one MPI job; ``wild`` diverges."""
    folder = tmp_path_factory.mktemp("runs")
    plan = {k: Case(("train", *v.split(), "--quiet"), str(folder), 2) for k, v in WORDS.items()}
    codes = {name: done.code for name, done in together(plan).items()}
    assert codes == {**dict.fromkeys(WORDS, 0), "wild": 3}
    return folder


def said(runs: Path, main: Any, *names: str) -> dict[str, str]:
    """Return the lines of an answer by their labels, after a look at its size."""
    done = inside(runs, main, *names).good()
    lines = done.out.splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 100
    return {line[:22].strip(): line[22:].strip() for line in lines}


def test_a_page_says_what_ran_where_and_how_it_ended(runs: Path) -> None:
    page = said(runs, cli.main, "more.h5")
    with h5py.File(runs / "more.h5") as f:
        history = {name: column[...] for name, column in f["history"].items()}
        seconds = sum(f[f"timing/segment{n}/seconds"][...].mean(axis=1).sum(axis=0) for n in (1, 2))
        accuracy, attributes = f["test/accuracy"][()], dict(f.attrs)
    assert page["network"] == "hidden 8, relu, output softmax, loss cross-entropy, 610 parameters"
    assert page["dataset"].startswith("digits: 1250 training, 250 validation, 297 test rows, ")
    assert page["other options"] == "epochs 4, learning_rate 0.1, checkpoint_every 40, quiet True"
    assert page["processor"] == attributes["cpu_model"]
    assert page["ranks x threads"].startswith("2 x 1, nodes 1")
    assert (page["BLAS"], page["MPI"]) == (attributes["blas_library"], attributes["mpi_library"])
    assert page["status"].startswith("complete, 160 steps; ")
    assert page["segments"] == "to step 80 on 2 ranks, to step 160 on 2 ranks"
    best = int(np.argmax(history["validation_accuracy"]))
    assert page["best accuracy"].startswith(f"{best + 1} ")
    assert f" {100 * history['validation_accuracy'][best]:.2f} % " in page["best accuracy"]
    assert page["test"].endswith(f" {100 * accuracy:.2f} %")
    assert f"{np.median(history['gflops']):.3g} GFLOP/s, over all" in page["time"]
    assert said(runs, cli.main, "a.h5")["time"].endswith(" GFLOP/s")
    names = ("data", "compute", "reduce", "wait", "update")
    shares = zip(names, 100 * seconds / seconds.sum(), strict=True)
    assert page["phases, mean"] == ", ".join(f"{name} {share:.1f} %" for name, share in shares)
    assert page["params_sha256"] == attributes["params_sha256"]
    for cores, text in {1.25: "used 1.2 cores while this run was timed", 0: "", None: ""}.items():
        with h5py.File(runs / "more.h5", "r+") as file:
            del file["segments/others_used"]
            if cores is not None:  # else as earlier versions wrote it
                file["segments/others_used"] = [np.nan, cores]
        assert said(runs, cli.main, "more.h5").get("other processes", "").partition(":")[0] == text
    wild = said(runs, cli.main, "wild.h5")
    assert wild["status"].startswith("diverged: ")
    assert "params_sha256" not in wild


def test_a_run_whose_precision_changed_says_so(runs: Path) -> None:
    with h5py.File(runs / "more.h5", "r+") as file:
        assert list(file["segments/precision"].asstr()) == ["float32"] * 2
        file["segments/precision"][0] = "bf16"
    page, lines = said(runs, cli.main, "more.h5"), said(runs, cli.compare, "more.h5", "a.h5")
    assert page["segments"] == "to step 80 on 2 ranks in bf16, to step 160 on 2 ranks in float32"
    assert lines["matmul_precision"] == "bf16 then float32 | float32"
    with h5py.File(runs / "more.h5", "r+") as file:
        del file["segments/precision"]  # as earlier versions wrote it
    assert "bf16" not in said(runs, cli.main, "more.h5")["segments"]


def test_the_same_run_twice_differs_in_nothing_but_the_time(runs: Path) -> None:
    with h5py.File(runs / "a.h5") as a, h5py.File(runs / "b.h5") as b:
        ratio = np.median(b["history/epoch_seconds"]) / np.median(a["history/epoch_seconds"])
    lines = said(runs, cli.compare, "a.h5", "b.h5")
    assert list(lines) == ["first", "second", "nothing but the time d", "time", "median epoch"]
    assert lines["median epoch"].endswith(f", {ratio:.3g} times as long")


def test_runs_of_other_rates_differ_in_rate_bits_and_history(runs: Path) -> None:
    lines = said(runs, cli.compare, "a.h5", "rate.h5")
    names = [f"layer{n}/{part}" for n in (1, 2) for part in ("weights", "biases")]
    with h5py.File(runs / "a.h5") as a, h5py.File(runs / "rate.h5") as b:
        pairs = [[f["model"][name][...].astype(float) for f in (a, b)] for name in names]
        gaps = [abs(x - y).max() / abs(np.array([x, y])).max() for x, y in pairs]
        hashes = [f.attrs["params_sha256"][:12] for f in (a, b)]
        final = [f"{100 * f['test/accuracy'][()]:.2f} %" for f in (a, b)]
    assert lines["the same"] == "machine and versions"
    assert (lines["learning_rate"], "epochs" in lines) == ("0.1 | 0.5", False)
    most = f"{max(gaps):.2g} of the largest value, in model/{names[int(np.argmax(gaps))]}"
    assert (lines["params_sha256"], lines["largest difference"]) == (" | ".join(hashes), most)
    assert lines["first difference"].startswith("epoch 1, train_")
    assert lines["test_accuracy"] == " | ".join(final)


def test_runs_of_other_lengths_and_without_weights(runs: Path) -> None:
    lines = said(runs, cli.compare, "a.h5", "more.h5")
    assert (lines["epochs"], "first difference" in lines) == ("3 | 4", False)
    assert lines["median epoch"].endswith("times as long, over all segments")
    lines = said(runs, cli.compare, "wild.h5", "a.h5")
    assert lines["params_sha256"].startswith("no weights | ")
    assert lines["largest difference"] == "-"


def test_reading_needs_neither_mpi_nor_numba(runs: Path) -> None:
    code = "import sys; from hpcpgd.info import cli; cli.compare(['a.h5', 'rate.h5']);"
    code += "print({'mpi4py', 'numba', 'pandas'} & {*sys.modules})"
    assert python("-c", code, cwd=runs).out.endswith("\nset()\n")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("schema", "hpcpgd.run/9", "schema 'hpcpgd.run/9'"),
        ("schema", "hpcpgd.study/1", "is a study file, expected a run file: hpcpgd study report"),
        ("config", "[", "cannot be read: "),
        ("ranks", 0, "attribute 'ranks' is 0, expected 1 or more"),
    ],
)
def test_files_that_are_bad(name: str, value: Any, says: str, runs: Path) -> None:
    shutil.copy(runs / "a.h5", runs / "bad.h5")
    with h5py.File(runs / "bad.h5", "r+") as file:
        file.attrs[name] = value
    for main, words in ((cli.main, ["bad.h5"]), (cli.compare, ["a.h5", "bad.h5"])):
        inside(runs, main, *words).one_line(65, f"error: bad.h5: {says}", out="")


def test_a_checkpoint_is_named_with_the_command_that_reads_it(runs: Path) -> None:
    checkpoint = next((runs / "more.checkpoints").iterdir()).relative_to(runs)
    done = inside(runs, cli.main, str(checkpoint))
    expected = f"is a checkpoint, expected a run file: hpcpgd train --resume {checkpoint} reads it"
    assert (done.code, done.err) == (65, f"hpcpgd info: error: {checkpoint}: {expected}\n")
