"""Runs that are interrupted and go on, on other numbers of ranks, to the same bits."""

from __future__ import annotations

import hashlib
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpcpgd.checkpoint.checkpoint_folder import Folder, load
from hpcpgd.checkpoint.codec import encode
from hpcpgd.checkpoint.seal import seal
from tests.helpers.many import Case, together
from tests.helpers.support import TRAIN, Done, mpiexec, python, started, wait_until

SMALL = ("--reduction", "reproducible", "--train-rows", "275", "--batch-size", "37", "--quiet")
STEPS = 8  # of an epoch


def train(folder: Path, output: str, *more: str, ranks: int = 1, epochs: int = 4) -> Done:
    words = (*TRAIN, *SMALL, "--epochs", str(epochs), "--output", output, *more)
    return python(*words, ranks=ranks, cwd=folder)


def told(path: Path) -> dict[str, Any]:
    """Return the values that must be equal in two runs, to the last bit."""
    with h5py.File(path) as file:
        names = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
        found: dict[str, Any] = {n: file[f"history/{n}"][...].tolist() for n in names}
        found["steps"] = file["history/steps"][...].tolist()
        found["test"] = float(file["test/loss"][...])
        return found | {"weights": file.attrs["params_sha256"], "status": file.attrs["status"]}


# Runs that are cut short and go on, by name: the options of both starts, the options of the
# first, the ranks of both, the steps between checkpoints and the steps of the first start.
CUT: dict[str, tuple[str, int, int, int, int]] = {
    "in the middle of an epoch": ("gemm", 2, 3, 5, 13),
    "between the last step of an epoch and its validation": ("gemm", 3, 1, 8, 17),
    "with loops": ("loops", 2, 1, 3, 11),
    "with gemv": ("gemv", 1, 3, 7, 20),
}
BACKENDS = ("gemm", "loops", "gemv")
FREE = ("--dtype", "float64", "--reduction")  # of other reductions
OPEN = ("--loss", "mse", "--output-activation", "linear", "--checkpoint-every", "1")
TAME = (*OPEN, "--learning-rate", "0.01")
ADAMW = ("--optimizer", "adamw", "--weight-decay", "0.01")
LIMIT = ("--max-steps", "12", "--checkpoint-every", "5")
# Runs that are single or come first, by folder: ranks, flags.
FIRST: dict[str, tuple[int, tuple[str, ...]]] = {
    **{name: (1, ("--backend", name)) for name in BACKENDS},
    **{
        name: (n, ("--backend", b, "--max-steps", str(made), "--checkpoint-every", str(every)))
        for name, (b, n, _, every, made) in CUT.items()
    },
    "groups": (3, ("--group-size", "2", "--checkpoint-every", "3", "--max-steps", "12")),
    "every step": (2, ("--checkpoint-every", "1")),
    "begun": (1, LIMIT),
    "complete": (1, LIMIT),
    "tame": (1, TAME),
    "wild": (1, (*TAME, "--max-steps", "12")),
    "adamw": (2, (*ADAMW, "--max-steps", "13", "--checkpoint-every", "5")),
    "adamw, undisturbed": (1, ADAMW),
    "free": (1, (*FREE, "allreduce")),
    "shared": (2, (*FREE, "shared", "--max-steps", "13", "--checkpoint-every", "6")),
    "overlap": (3, (*FREE, "overlap", "--max-steps", "13", "--checkpoint-every", "6")),
}
# Runs that go on from these.
THEN: dict[str, tuple[int, tuple[str, ...]]] = {
    **{name: (n, ("--backend", b)) for name, (b, _, n, _, _) in CUT.items()},
    "groups": (4, ("--group-size", "1")),
    "complete": (1, ("--max-steps", "12")),
    "adamw": (3, ADAMW),
    "shared": (3, (*FREE, "allreduce")),
    "overlap": (2, (*FREE, "shared")),
}


def case(folder: Path, ranks: int, *flags: str) -> Case:
    words = ("train", *SMALL, "--epochs", "4", "--output", "r.h5", *flags)
    return Case(words, str(folder), ranks)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the folders of ``FIRST``, whose runs are made."""
    root, cases = tmp_path_factory.mktemp("first"), {}
    for name, (ranks, flags) in FIRST.items():
        (root / name).mkdir()
        cases[name] = case(root / name, ranks, *flags)
    for name, done in together(cases).items():
        assert (done.code, done.out, done.err) == (0, "", ""), name
        if "--max-steps" in FIRST[name][1]:  # as if the run had been killed before its end
            Folder(root / name / "r.checkpoints").newest_first()[0].unlink()
    return root


@pytest.fixture(scope="module")
def then(first: Path) -> dict[str, tuple[Done, Path, list[str]]]:
    """Return the outcome of each run of ``THEN``, its folder and the checkpoints there before."""
    found = {
        name: [path.name for path in Folder(first / name / "r.checkpoints").newest_first()]
        for name in THEN
    }
    cases = {name: case(first / name, ranks, *flags) for name, (ranks, flags) in THEN.items()}
    done = together(cases)
    return {name: (done[name], first / name, found[name]) for name in THEN}


@pytest.fixture(scope="module")
def whole(first: Path) -> dict[str, dict[str, Any]]:
    """Return the results of undisturbed runs on one rank, by backend."""
    found = {backend: told(first / backend / "r.h5") for backend in BACKENDS}
    assert found["gemm"]["steps"] == [STEPS] * 4
    for backend in BACKENDS:  # of its end
        assert len(Folder(first / backend / "r.checkpoints").newest_first()) == 1
    return found


Then = dict[str, tuple[Done, Path, list[str]]]


@pytest.mark.parametrize("name", CUT)
def test_the_bits_of_an_undisturbed_run(name: str, whole: Any, then: Then) -> None:
    backend, before, after, every, made = CUT[name]
    done, folder, checkpoints = then[name]
    begun = made - made % every
    assert checkpoints[0].endswith(f"-step-{begun:012d}.ckpt.h5")
    assert len(checkpoints) == min(begun // every, 2)  # of three, but for the last
    assert (done.code, done.err) == (0, "")
    assert told(folder / "r.h5") == whole[backend]
    with h5py.File(folder / "r.h5") as file:
        assert file["segments/first_step"][...].tolist() == [1, begun + 1]
        assert file["segments/last_step"][...].tolist() == [begun, 4 * STEPS]
        assert file["segments/ranks"][...].tolist() == [before, after]
        rows = [file[f"timing/segment{n}/rows"][...] for n in (1, 2)]
        assert [r.shape[1] for r in rows] == [before, after]
        assert sum(r.sum() for r in rows) == 4 * 275
        assert len(file["ranks/segment1/host"]) == before


def test_over_groups(whole: Any, then: Then) -> None:
    done, folder, _ = then["groups"]
    assert (done.code, done.err) == (0, "")
    assert told(folder / "r.h5") == whole["gemm"]


def test_an_optimiser_goes_on_with_what_it_keeps(first: Path, then: Then) -> None:
    done, folder, checkpoints = then["adamw"]
    assert checkpoints[0].endswith("-step-000000000010.ckpt.h5")
    assert (done.code, done.err) == (0, "")
    assert told(folder / "r.h5") == told(first / "adamw, undisturbed" / "r.h5")


def test_a_checkpoint_changes_nothing(whole: Any, first: Path) -> None:
    assert told(first / "every step" / "r.h5") == whole["gemm"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_interrupted_and_run_again(number: signal.Signals, tmp_path: Path) -> None:
    """Killed between two checkpoints, or asked to stop: the same command goes on."""
    long = ("--epochs", "200", "--checkpoint-every", "0.1s", "--output")
    command = [mpiexec(), "-n", "2", sys.executable, *TRAIN, *SMALL, *long, "r.h5"]
    folder = Folder(tmp_path / "r.checkpoints")
    with started(command, tmp_path) as process:
        wait_until(folder.newest_first, 120)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 75, error
        assert error.count("\n") == 1
        assert "; go on with: mpiexec -n 2 python -m hpcpgd.train --reduction repro" in error
    else:
        time.sleep(1)  # ranks whose launcher was killed end by themselves
    python(*TRAIN, *SMALL, *long, "r.h5", ranks=3, cwd=tmp_path).good()
    assert python(*TRAIN, *SMALL, *long, "whole.h5", cwd=tmp_path).code == 0
    assert told(tmp_path / "r.h5") == told(tmp_path / "whole.h5")


def test_a_time_limit_stops_as_a_signal_does(tmp_path: Path) -> None:
    train(tmp_path, "r.h5", "--time-limit", "2s", ranks=2, epochs=10**6).one_line(75)
    assert len(Folder(tmp_path / "r.checkpoints").newest_first()) == 1
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["status"] == "stopped"


@pytest.fixture
def begun(first: Path, tmp_path: Path) -> Path:
    """Return a copy of a run of 12 of 32 steps and two checkpoints, with their dates."""
    return Path(shutil.copytree(first / "begun", tmp_path / "run"))


def test_a_damaged_checkpoint_is_told_of_and_passed_over(begun: Path, whole: Any) -> None:
    newest = Folder(begun / "r.checkpoints").newest_first()[0]
    newest.write_bytes(newest.read_bytes()[:-9])
    done = train(begun, "r.h5", ranks=2)
    done.one_line(0, f"warning: checkpoint r.checkpoints/{newest.name}: is cut off")
    assert told(begun / "r.h5") == whole["gemm"]
    with h5py.File(begun / "r.h5") as file:
        assert file["segments/first_step"][...].tolist() == [1, 6]
    for path in Folder(begun / "r.checkpoints").newest_first():
        path.write_bytes(b"x" * 100)
    for ranks in (1, 3):
        done = train(begun, "new.h5", "--checkpoint-dir", "r.checkpoints", ranks=ranks)
        assert (done.code, done.out) == (65, "")
        assert done.err.splitlines()[-1].startswith("hpcpgd train: error: r.checkpoints: none of")
    assert not (begun / "new.h5").exists()


OTHER = {
    "widths is 64-16-10 now, 64-32-10 there": (("--hidden", "16"), 3),
    "dtype is float64 now, float32 there": (("--dtype", "float64"), 1),
    "activation is tanh now, relu there": (("--activation", "tanh"), 1),
    "seed is 1 now, 0 there": (("--seed", "1"), 1),
    "batch_size is 36 now, 37 there": (("--batch-size", "36"), 1),
    "train_rows is 276 now, 275 there": (("--train-rows", "276"), 1),
    "dataset (SHA-256) is": (("--dataset", "synthetic:330x64x10", "--train-rows", "275"), 3),
    "0010.ckpt.h5 has made 10 steps already": (("--max-steps", "9"), 1),
    "has made 10 steps already, 8 an epoch: ask for 2 or more": (("--epochs", "1"), 1),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.h5")}


@pytest.fixture(scope="module")
def refused(first: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Done, Path]]:
    """Return the outcomes of other runs, each in a copy of the unfinished run."""
    root, cases = tmp_path_factory.mktemp("other"), {}
    for number, (words, (flags, ranks)) in enumerate(OTHER.items()):
        shutil.copytree(first / "begun", root / str(number))
        cases[words] = case(root / str(number), ranks, *flags)
    done = together(cases)
    return {words: (done[words], Path(cases[words].folder)) for words in OTHER}


@pytest.mark.parametrize("words", OTHER)
def test_another_run_is_refused(
    words: str, first: Path, refused: dict[str, tuple[Done, Path]]
) -> None:
    done, folder = refused[words]
    done.one_line(78, words, out="")
    assert contents(folder) == contents(first / "begun")


def test_what_is_complete_stays_so_unless_more_is_asked_for(then: Then) -> None:
    done, folder, checkpoints = then["complete"]
    assert done.code == 74
    assert "this run is complete: to go on with it, give more --epochs" in done.err
    newest = f"r.checkpoints/{checkpoints[0]}"
    (folder / "r.h5").unlink()
    python(*TRAIN, *SMALL, "--resume", newest, "--max-steps", "14", cwd=folder).good()
    with h5py.File(folder / "r.h5") as file:  # the checkpoint has the path of its run's file
        assert file["history/steps"][...].sum() == 14


def test_never_begins_anew(begun: Path) -> None:
    fresh = ("--resume", "never", "--overwrite", "--max-steps", "3", "--hidden", "8")
    train(begun, "r.h5", *fresh).good()
    for name, seen in (("always", "no such file"), (".", "is a folder")):
        missing = train(begun, "x.h5", "--resume", name).ended(65)
        assert f"--resume {name}: {seen}; expected auto, never" in missing.err


def test_a_run_of_a_version_with_four_limits_goes_on(begun: Path, whole: Any) -> None:
    """The checkpoint and the run file of such a version have the four limits."""
    limits = {f"{phase}_limit": "none" for phase in ("step", "loading", "compiling", "checkpoint")}
    newest = Folder(begun / "r.checkpoints").newest_first()[0]
    state = load(newest)
    state.config = {k: v for k, v in state.config.items() if k != "hang_limit"} | limits
    body = encode(state)
    newest.write_bytes(bytes(body) + seal(len(body), hashlib.sha256(body)))
    with h5py.File(begun / "r.h5", "r+") as file:
        lines = [line for line in file.attrs["config"].splitlines() if "hang_limit" not in line]
        file.attrs["config"] = "\n".join([*lines, *(f'{k} = "none"' for k in limits)])
    train(begun, "r.h5").good()
    assert told(begun / "r.h5") == whole["gemm"]
    with h5py.File(begun / "r.h5") as file:
        assert file["segments/first_step"][...].tolist() == [1, 11]


def test_divergence_keeps_the_last_good_checkpoint(first: Path) -> None:
    place = first / "wild"
    folder = Folder(place / "r.checkpoints")
    good = folder.newest_first()[0]
    train(place, "r.h5", *OPEN, "--learning-rate", "1e30", ranks=2).one_line(3)
    with h5py.File(place / "r.h5") as file:
        assert file.attrs["status"] == "diverged"
    assert good in folder.newest_first()
    for path in folder.newest_first():
        with h5py.File(path) as file:
            assert all(np.isfinite(file[f"model/layer{n}/weights"]).all() for n in (1, 2))
    train(place, "r.h5", *TAME, "--resume", str(good), ranks=3).good()
    assert told(place / "r.h5") == told(first / "tame" / "r.h5")


@pytest.mark.parametrize("name", ["shared", "overlap"])
def test_other_reductions_go_on_too(name: str, first: Path, then: Then) -> None:
    """Their results are equal up to rounding, whichever reduction wrote the checkpoint."""
    done, folder, checkpoints = then[name]
    assert (done.code, len(checkpoints)) == (0, 2)
    expected, found = told(first / "free" / "r.h5"), told(folder / "r.h5")
    for column in ("train_loss", "validation_loss", "train_accuracy", "steps"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-12)
