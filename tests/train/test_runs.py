"""Whole runs that need no job of their own: logs, help, divergence, ranks that differ, chunks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcpgd.kernels.core.network import Network
from tests.helpers.many import Case, together
from tests.helpers.support import TRAIN, Done, mpiexec, python, run

Many = Callable[[str], tuple[Done, Path]]
WILD = ("--loss", "mse", "--output-activation", "linear", "--output", "r.h5")
DIVERGES = ("train", *WILD, "--learning-rate", "1e30")
DIFFERENT: dict[str, tuple[list[str], list[str], int, str]] = {
    "epochs": (["--epochs", "1"], ["--epochs", "2"], 78, "epochs is 2, but 1 on rank 0"),
    "batch": (["--batch-size", "8"], ["--batch-size", "9"], 78, "batch_size is 9, but 8"),
    "wrong on rank 1": (["--epochs", "1"], ["--epochs", "0"], 2, "rank 1: --epochs: expected"),
    "wrong on rank 0": (["--epochs", "0"], ["--epochs", "1"], 2, "--epochs: expected"),
    "no file": (["--config", "none.toml"], [], 78, "none.toml"),
}
# Runs that share one job with others, by name: the words and the ranks.
WORDS = {
    "log": (("train", "--epochs", "4", "--output", "r.h5"), 3),
    "seldom": (("train", "--epochs", "4", "--log-every", "3", "--output", "r.h5"), 3),
    "quiet": (("train", "--epochs", "1", "--output", "r.h5", "--quiet"), 3),
    "help": (("train", "--help"), 3),
    "configuration": (("train", "--print-config"), 3),
    "diverges": (DIVERGES, 3),
    "too large": (("train", "--hidden", "9000000,9000000"), 3),
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Many:
    """Return a function that returns the outcome of one run of many, and its folder."""
    folders = {name: tmp_path_factory.mktemp("run") for name in (*WORDS, *DIFFERENT)}
    cases = {name: Case(words, str(folders[name]), n) for name, (words, n) in WORDS.items()}
    for name, (first, second, _, _) in DIFFERENT.items():
        own, other = (("train", *words, "--output", "r.h5") for words in (first, second))
        cases[name] = Case(own, str(folders[name]), 2, other)
    done = together(cases)
    return lambda name: (done[name], folders[name])


def test_batch_log_has_one_line_an_epoch_from_one_rank(many: Many) -> None:
    done, folder = many("log")
    lines = done.out.splitlines()
    assert [x.split()[1] for x in lines if x.startswith("epoch ")] == ["1/4", "2/4", "3/4", "4/4"]
    assert sum("run file" in x for x in lines) == 1
    with h5py.File(folder / "r.h5") as f:
        assert f"params_sha256  {f.attrs['params_sha256'][:12]}" in lines
    seldom = many("seldom")[0].out.splitlines()
    assert [x.split()[1] for x in seldom if x.startswith("epoch ")] == ["3/4", "4/4"]
    quiet, folder = many("quiet")
    assert sorted(path.name for path in folder.iterdir()) == ["r.checkpoints", "r.h5"]
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_help_and_print_config_come_from_one_rank(many: Many) -> None:
    for name, word in (("help", "usage:"), ("configuration", "[train]")):
        assert many(name)[0].good().out.count(word) == 1


@pytest.mark.parametrize("ranks", [1, 3])
def test_divergence_stops_every_rank_with_3(ranks: int, many: Many, tmp_path: Path) -> None:
    if ranks == 1:  # as a process of its own
        done, folder = python("-m", "hpcpgd", *DIVERGES, cwd=tmp_path), tmp_path
    else:
        done, folder = many("diverges")
    done.one_line(3, "lower the learning rate (now 1e+30)")
    with h5py.File(folder / "r.h5") as f:
        assert f.attrs["status"] == "diverged"
        assert f["segments/last_step"][0] == int(done.err.split("step ")[1].split()[0])
        assert "model" not in f


def check_different(name: str, done: Done, folder: Path) -> None:
    """Check that one line says what differs, and that no file is left."""
    _, _, code, word = DIFFERENT[name]
    done.one_line(code, word)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_ranks_that_differ(name: str, many: Many) -> None:
    check_different(name, *many(name))


def test_ranks_of_two_commands_that_differ(tmp_path: Path) -> None:
    """As a user starts such a job; the second command is wrong before MPI starts."""
    first, second, _, _ = DIFFERENT["wrong on rank 1"]
    command = [mpiexec()]
    for colon, words in (([], first), ([":"], second)):
        own = [sys.executable, *TRAIN, *words, "--output", "r.h5"]
        command += [*colon, "-n", "1", *own]
    check_different("wrong on rank 1", run(command, 60, cwd=tmp_path), tmp_path)


def test_a_network_larger_than_the_memory(many: Many) -> None:
    done, folder = many("too large")
    done.one_line(69, "network: 3 ranks on one node need")
    assert list(folder.iterdir()) == []


CHUNKED = [("allreduce", 1), ("allreduce", 2), ("overlap", 2), ("shared", 2), ("reproducible", 2)]
CHUNKS = """
from hpcpgd.engines import context
context.HOST_CHUNK = ({}, 1)
"""


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs of one chunk of 1,250 rows and of chunks of 59."""
    folder, cases = tmp_path_factory.mktemp("chunks"), {}
    for size in (10_000_000, 70_000):
        for reduction, ranks in CHUNKED:
            name = f"{reduction}-{ranks}-{size}.h5"
            flags = ("--batch-size", "full", "--dtype", "float64", "--epochs", "5")
            words = ("train", *flags, "--reduction", reduction, "--output", name)
            cases[name] = Case(words, str(folder), ranks, setup=CHUNKS.format(size))
    for name, done in together(cases).items():
        assert (done.code, done.err) == (0, ""), name
    return folder


@pytest.mark.parametrize(("reduction", "ranks"), CHUNKED)
def test_the_same_weights_for_a_chunked_slice(reduction: str, ranks: int, chunked: Path) -> None:
    """A full batch worked through in chunks gives the gradient of the whole."""
    net = Network((64, 32, 10), "float64")
    assert 70_000 // net.bytes_per_row() == 59
    ends = []
    for size in ("10000000", "70000"):
        with h5py.File(chunked / f"{reduction}-{ranks}-{size}.h5") as f:
            ends.append(f["model/layer1/weights"][...])
    assert not np.array_equal(ends[0], ends[1])  # sums of chunks are rounded otherwise
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-13)
