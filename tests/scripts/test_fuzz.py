"""Hostile files: hundreds of a kind, with --all thousands; what no module may do with data."""

from __future__ import annotations

import ast
import importlib
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import hpcpgd
from hpcpgd.errors import ConfigError, DataError

PACKAGE = Path(hpcpgd.__file__).parent
# The cache of kernels holds code in any case, and refuses what others may have written.
MODULES = sorted(
    path
    for path in (*PACKAGE.rglob("*.py"), *(PACKAGE / "kernels").rglob("*.py"))
    if path.name != "compiled.py"
)
CASES = {
    "idx": 800, "csv": 600, "npz": 800, "toml": 600, "checkpoint": 400, "hdf5": 400, "run": 200,
}  # fmt: skip
PICKLING = ("pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")
# mpi4py's methods that pickle; the capital ones send buffers.
LOWER_CASE = {
    "send", "recv", "isend", "irecv", "bsend", "ibsend", "ssend", "issend", "sendrecv", "mprobe",
    "improbe", "bcast", "gather", "allgather", "scatter", "reduce", "allreduce", "alltoall",
    "scan", "exscan", "ibcast",
}  # fmt: skip
# Methods of other things that have the same names, by what they are called on.
OTHERS = {"np", "numpy", "functools", "mpi"}  # mpi: ours, which sends buffers


@pytest.fixture
def faults() -> Any:
    """Return a function that imports a module of ``tests/faults``."""
    return lambda name: importlib.import_module(f"tests.faults.{name}")


all_of_them = pytest.mark.long(reason="the same changes of files, four times as many")


@pytest.mark.parametrize("share", [4, pytest.param(1, marks=all_of_them)])
@pytest.mark.parametrize("name", CASES)
def test_hostile_files_are_read_or_refused(
    name: str, share: int, faults: Any, tmp_path: Path
) -> None:
    wanted = CASES[name] // share
    batch = faults("fuzz").make_batch(name, 0, wanted, tmp_path)
    assert batch.wrong == []
    counts = batch.counts
    ended = counts["crashes"] + counts["hangs"]  # of libhdf5
    assert counts["accepted"] + counts["refused"] + ended == counts["cases"] >= wanted - 5
    assert min(counts["accepted"], counts["refused"]) > wanted / 50, counts


class Spy:
    """A format whose reader does what a test wants."""

    def __init__(self, faults: Any, read: Any) -> None:
        form, worker = faults("hostile.format"), faults("fuzz_worker")
        self.format = form.Format(None, read, (DataError,), 1)
        self.judge = worker.judge


def _raise(error: BaseException) -> None:
    raise error


def _warn() -> None:
    warnings.warn("hm", RuntimeWarning, stacklevel=1)


def _memory() -> None:
    try:
        raise MemoryError
    except MemoryError:
        raise DataError("cannot be read") from None


def test_the_check_can_fail(faults: Any, tmp_path: Path) -> None:
    unsound = faults("hostile.format").UnsoundError("x")
    cases = {
        "KeyError at": lambda _: _raise(KeyError("a")),
        "ConfigError at": lambda _: _raise(ConfigError("a")),
        "warning RuntimeWarning": lambda _: _warn(),
        "asked for memory": lambda _: _memory(),
        "accepted: x": lambda _: _raise(unsound),
    }
    for wrong, read in cases.items():
        spy = Spy(faults, read)
        assert spy.judge(spy.format, tmp_path)[1].startswith(wrong)
    good = Spy(faults, lambda _: _raise(DataError("one line")))
    assert good.judge(good.format, tmp_path) == (False, "")
    fine = Spy(faults, lambda _: None)
    assert fine.judge(fine.format, tmp_path) == (True, "")


def test_a_reader_that_dies_ends_the_job(faults: Any, tmp_path: Path) -> None:
    """As if libhdf5 crashed in rank 0, while the others wait for the dataset."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x_train"], file["y_train"] = np.eye(4), np.arange(4)
    jobs = faults("jobs")
    words = ["--dataset", str(path), "--output", str(tmp_path / "r.h5"), "--quiet"]
    ended = jobs.finish(jobs.start(words, 3, jobs.Fault(0, "parsing", 1)))
    assert ended.code not in (0, None)
    assert not (tmp_path / "r.h5").exists()


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found


def pickling(path: Path) -> list[str]:
    """Return the calls of a module that could pickle."""
    found = [name for name in imported(path) if name in PICKLING]
    for call in calls(path):
        text = ast.unparse(call.func)
        owner, _, name = text.rpartition(".")
        said = [ast.unparse(k.value) for k in call.keywords if k.arg == "allow_pickle"]
        reads = text in ("np.load", "numpy.load", "npy.read_array")
        sends = owner and name in LOWER_CASE and owner.split(".")[0] not in OTHERS
        if sends or ((said or reads) and said != ["False"]):
            found.append(text)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_nothing_is_pickled(path: Path) -> None:
    assert pickling(path) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from marshal import loads",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "comm.bcast(state)",
        "ranks.comm.allreduce(1)",
    ],
)
def test_pickling_would_be_found(code: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)
    assert pickling(path) != []
