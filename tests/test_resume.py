"""Runs that are interrupted and go on, on other numbers of ranks, to the same bits."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpcpgd.checkpoint.folder import Folder
from tests.support import TRAIN, Done, environment, mpiexec, python

SMALL = ("--reduction", "reproducible", "--train-rows", "330", "--batch-size", "37", "--quiet")
STEPS = 8  # of an epoch: 275 rows for training


def train(folder: Path, output: str, *more: str, ranks: int = 1, epochs: int = 4) -> Done:
    words = (*TRAIN, *SMALL, "--epochs", str(epochs), "--output", output, *more)
    return python(*words, ranks=ranks, cwd=folder)


def told(path: Path) -> dict[str, Any]:
    """Return what two runs must have alike, to the last bit."""
    with h5py.File(path) as file:
        names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
        found: dict[str, Any] = {n: file[f"history/{n}"][...].tolist() for n in names}
        found["steps"] = file["history/steps"][...].tolist()
        found["test"] = float(file["test/loss"][...])
        return found | {"weights": file.attrs["params_sha256"], "status": file.attrs["status"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return what undisturbed runs on one rank tell, by backend."""
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for backend in ("gemm", "loops", "gemv"):
        done = train(folder, f"{backend}.h5", "--backend", backend)
        assert done.code == 0, done.err
        found[backend] = told(folder / f"{backend}.h5")
    assert found["gemm"]["steps"] == [STEPS] * 4
    assert not list(folder.glob("*.checkpoints"))
    return found


@pytest.mark.parametrize(
    ("backend", "first", "then", "every", "made"),
    [
        ("gemm", 2, 3, 5, 13),  # in the middle of an epoch
        ("gemm", 3, 1, 8, 17),  # between the last step of an epoch and its validation
        ("loops", 2, 1, 3, 11),
        ("gemv", 1, 3, 7, 20),
    ],
)
def test_the_bits_of_an_undisturbed_run(
    backend: str, first: int, then: int, every: int, made: int, whole: Any, tmp_path: Path
) -> None:
    named = ("--backend", backend)
    limit = ("--max-steps", str(made), "--checkpoint-every", str(every))
    done = train(tmp_path, "r.h5", *named, *limit, ranks=first)
    assert (done.code, done.err) == (0, "")
    begun = made - made % every
    names = [path.name for path in Folder(tmp_path / "r.checkpoints").newest_first()]
    assert names[0].endswith(f"-step-{begun:012d}.ckpt.h5")
    assert len(names) == min(begun // every, 3)
    done = train(tmp_path, "r.h5", *named, ranks=then)
    assert (done.code, done.err) == (0, "")
    assert told(tmp_path / "r.h5") == whole[backend]
    with h5py.File(tmp_path / "r.h5") as file:
        assert file["segments/first_step"][...].tolist() == [1, begun + 1]
        assert file["segments/last_step"][...].tolist() == [begun, 4 * STEPS]
        assert file["segments/ranks"][...].tolist() == [first, then]
        rows = [file[f"timing/segment{n}/rows"][...] for n in (1, 2)]
        assert [r.shape[1] for r in rows] == [first, then]
        assert sum(r.sum() for r in rows) == 4 * 275
        assert len(file["ranks/segment1/host"]) == first


def test_over_groups(whole: Any, tmp_path: Path) -> None:
    groups = ("--group-size", "2", "--checkpoint-every", "3")
    assert train(tmp_path, "r.h5", *groups, "--max-steps", "12", ranks=3).code == 0
    done = train(tmp_path, "r.h5", "--group-size", "1", ranks=4)
    assert (done.code, done.err) == (0, "")
    assert told(tmp_path / "r.h5") == whole["gemm"]


def test_a_checkpoint_changes_nothing(whole: Any, tmp_path: Path) -> None:
    assert train(tmp_path, "r.h5", "--checkpoint-every", "1", ranks=2).code == 0
    assert told(tmp_path / "r.h5") == whole["gemm"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_interrupted_and_run_again(number: signal.Signals, tmp_path: Path) -> None:
    """Killed between two checkpoints, or asked to stop: the same command goes on."""
    long = ("--epochs", "400", "--checkpoint-every", "0.1s", "--output")
    command = [mpiexec(), "-n", "2", sys.executable, *TRAIN, *SMALL, *long, "r.h5"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    folder = Folder(tmp_path / "r.checkpoints")
    deadline = time.monotonic() + 120
    while not folder.newest_first() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 75, error
        assert error.count("\n") == 1
        assert "run again to go on" in error
    else:
        time.sleep(1)  # ranks whose launcher was killed end by themselves
    done = python(*TRAIN, *SMALL, *long, "r.h5", ranks=3, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert python(*TRAIN, *SMALL, *long, "whole.h5", cwd=tmp_path).code == 0
    assert told(tmp_path / "r.h5") == told(tmp_path / "whole.h5")


def test_a_time_limit_stops_as_a_signal_does(tmp_path: Path) -> None:
    done = train(tmp_path, "r.h5", "--time-limit", "2s", ranks=2, epochs=10**6)
    assert (done.code, done.err.count("\n")) == (75, 1)
    assert len(Folder(tmp_path / "r.checkpoints").newest_first()) == 1
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["status"] == "stopped"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of 12 of 32 steps and two checkpoints."""
    folder = tmp_path_factory.mktemp("once") / "run"
    folder.mkdir()
    assert train(folder, "r.h5", "--max-steps", "12", "--checkpoint-every", "5").code == 0
    return folder


@pytest.fixture
def begun(once: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, its files as old as they were."""
    return Path(shutil.copytree(once, tmp_path / "run"))


def test_a_damaged_checkpoint_is_told_of_and_passed_over(begun: Path, whole: Any) -> None:
    newest, older = Folder(begun / "r.checkpoints").newest_first()
    newest.write_bytes(newest.read_bytes()[:-9])
    done = train(begun, "r.h5", ranks=2)
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert f"warning: checkpoint r.checkpoints/{newest.name}: is cut off" in done.err
    assert told(begun / "r.h5") == whole["gemm"]
    with h5py.File(begun / "r.h5") as file:
        assert file["segments/first_step"][...].tolist() == [1, 6]
    for path in (newest, older):
        path.write_bytes(b"x" * 100)
    for ranks in (1, 3):
        done = train(begun, "new.h5", "--checkpoint-dir", "r.checkpoints", ranks=ranks)
        assert (done.code, done.out) == (65, "")
        assert done.err.splitlines()[-1].startswith("hpcpgd train: error: r.checkpoints: none of")
    assert not (begun / "new.h5").exists()


@pytest.mark.parametrize(
    ("flags", "words", "ranks"),
    [
        (("--hidden", "16"), "widths is 64-16-10 now, 64-32-10 there", 3),
        (("--dtype", "float64"), "dtype is float64 now, float32 there", 1),
        (("--activation", "tanh"), "activation is tanh now, sigmoid there", 1),
        (("--seed", "1"), "seed is 1 now, 0 there", 1),
        (("--batch-size", "36"), "batch_size is 36 now, 37 there", 1),
        (("--train-rows", "331"), "train_rows is 331 now, 330 there", 1),
        (("--dataset", "synthetic:330x64x10", "--train-rows", "330"), "dataset (SHA-256) is", 2),
        (("--max-steps", "9"), "0010.ckpt.h5 has made 10 steps already", 1),
        (("--epochs", "1"), "has made 10 steps already, 8 an epoch: ask for 2 or more", 1),
    ],
)
def test_another_run_is_refused(
    begun: Path, flags: tuple[str, ...], words: str, ranks: int
) -> None:
    before = {path: path.read_bytes() for path in begun.rglob("*.h5")}
    done = train(begun, "r.h5", *flags, ranks=ranks)
    assert (done.code, done.out, done.err.count("\n")) == (78, "", 1)
    assert words in done.err
    assert {path: path.read_bytes() for path in begun.rglob("*.h5")} == before


def test_what_is_complete_stays_so_unless_more_is_asked_for(tmp_path: Path) -> None:
    assert train(tmp_path, "r.h5", "--max-steps", "12", "--checkpoint-every", "5").code == 0
    refused = train(tmp_path, "r.h5", "--max-steps", "12")
    assert refused.code == 74
    assert "exists" in refused.err
    newest = Folder(tmp_path / "r.checkpoints").newest_first()[0]
    (tmp_path / "r.h5").unlink()
    done = python(*TRAIN, *SMALL, "--resume", str(newest), "--max-steps", "14", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    with h5py.File(tmp_path / "r.h5") as file:  # the checkpoint knows its run's file
        assert file["history/steps"][...].sum() == 14


def test_never_begins_anew(begun: Path) -> None:
    fresh = ("--resume", "never", "--overwrite", "--max-steps", "3", "--hidden", "8")
    done = train(begun, "r.h5", *fresh)
    assert (done.code, done.err) == (0, "")
    for name, seen in (("always", "no such file"), (".", "is a folder")):
        missing = train(begun, "x.h5", "--resume", name)
        assert missing.code == 65
        assert f"--resume {name}: {seen}; expected auto, never" in missing.err


def test_divergence_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    open_ended = (
        "--activation",
        "relu",
        "--output-activation",
        "linear",
        "--checkpoint-every",
        "1",
    )
    tame = (*open_ended, "--learning-rate", "0.01")
    assert train(tmp_path, "whole.h5", *tame).code == 0
    assert train(tmp_path, "r.h5", *tame, "--max-steps", "12").code == 0
    folder = Folder(tmp_path / "r.checkpoints")
    good = folder.newest_first()[0]
    done = train(tmp_path, "r.h5", *open_ended, "--learning-rate", "1e30", ranks=2)
    assert done.code == 3, done.err
    assert done.err.count("\n") == 1
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["status"] == "diverged"
    assert good in folder.newest_first()
    for path in folder.newest_first():
        with h5py.File(path) as file:
            assert all(np.isfinite(file[f"model/layer{n}/weights"]).all() for n in (1, 2))
    done = train(tmp_path, "r.h5", *tame, "--resume", str(good), ranks=3)
    assert (done.code, done.err) == (0, "")
    assert told(tmp_path / "r.h5") == told(tmp_path / "whole.h5")


def test_other_reductions_go_on_too(tmp_path: Path) -> None:
    """Not to the same bits, but to the same numbers, whatever wrote the checkpoint."""
    free = ("--dtype", "float64", "--reduction")
    assert train(tmp_path, "whole.h5", *free, "allreduce").code == 0
    pairs = [
        ("shared", 2, "allreduce", 3),
        ("overlap", 3, "shared", 2),
    ]
    for first, ranks, then, more in pairs:
        name = f"{first}.h5"
        limit = ("--max-steps", "13", "--checkpoint-every", "6")
        assert train(tmp_path, name, *free, first, *limit, ranks=ranks).code == 0
        assert train(tmp_path, name, *free, then, ranks=more).code == 0
        expected, found = told(tmp_path / "whole.h5"), told(tmp_path / name)
        for column in ("train_loss", "validation_loss", "train_accuracy", "steps"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-12)
