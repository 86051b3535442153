"""oneMKL: found in its wheel, set up before its first call, and right when threads call it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest

from hpcpgd.doctor import products
from hpcpgd.kernels.blas import blas_library, mkl
from tests.helpers.problems import FUNCTIONS, Problem
from tests.helpers.support import TRAIN, environment, python
from tests.kernels.test_kernels import compare


def fake_wheel(folder: Path, library: str) -> str:
    """Return a folder for ``sys.path`` with a wheel of oneMKL that has one empty library."""
    facts = folder / "lib" / "python3" / "site-packages" / "mkl-9.9.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mkl\nVersion: 9.9\n")
    (facts / "RECORD").write_text(f"../../{library},,\n")
    (folder / "lib" / library).touch()
    return str(facts.parent)


@pytest.mark.parametrize("name", ["libmkl_rt.so.9", "libmkl_core.so.9"])
def test_the_library_is_where_the_wheel_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "ROUNDS", 1)
    folder, whole = fake_wheel(tmp_path, name), "rt" in name
    monkeypatch.syspath_prepend(folder)
    assert mkl.installed() == (str(tmp_path / "lib" / name) if whole else "")
    env = environment(PYTHONPATH=f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    seen = products.observe(env)
    assert (seen.trouble, seen.gflops > 0) == ("", True)
    assert ("HPCPGD_BLAS=mkl: " in seen.mkl_trouble) == whole  # the file is empty
    done = python(*TRAIN, ranks=3, env={**env, "HPCPGD_BLAS": "mkl"}, cwd=tmp_path)
    done.one_line(69, "HPCPGD_BLAS=mkl: ")
    assert ("not installed here: pip install 'hpcpgd[mkl]'" in done.err) != whole
    done = python(*TRAIN, env={**env, "HPCPGD_BLAS": "mlk"}, cwd=tmp_path)
    assert (done.code, done.err.rpartition(": ")[2]) == (
        69,
        "expected mkl, or the path of a library\n",
    )


@pytest.mark.parametrize(
    ("before", "fixed", "mode"), [(1, 0, "AUTO"), (3, 0, "COMPATIBLE"), (1, 9, "")]
)
def test_one_thread_a_call_and_sums_in_a_fixed_order(before: int, fixed: int, mode: str) -> None:
    """``before`` is $MKL_CBWR's mode; a library that has worked keeps its ``fixed`` layer."""
    modes = [before]
    library = SimpleNamespace(
        MKL_Set_Threading_Layer=lambda layer: fixed or layer,
        MKL_Set_Interface_Layer=lambda layer: layer,
        MKL_CBWR_Get=lambda _: modes[-1],
        MKL_CBWR_Set=modes.append,
    )
    if fixed:
        with pytest.raises(OSError, match="with other settings"):
            mkl.prepare(library)
    else:
        assert mkl.prepare(library) == f"CNR {mode}"


@pytest.mark.mkl
@pytest.mark.parametrize(("backend", "threads"), [("gemm", 1), ("gemm", 3), ("gemv", 1)])
def test_gradient(backend: str, threads: int) -> None:
    library = blas_library.find("mkl")
    assert library is not None
    problem = Problem((784, 300, 10), 128, FUNCTIONS[0])
    for dtype in ("float64", "float32"):
        with closing(problem.plan(backend, dtype, threads, library)) as plan:
            compare(problem, plan, dtype)


@pytest.mark.mkl
def test_the_same_bits_on_any_number_of_ranks_and_threads(tmp_path: Path) -> None:
    env, hashes = environment(HPCPGD_BLAS="mkl"), set()
    for ranks, threads in ((1, 1), (2, 2), (3, 1)):
        flags = ("--reduction", "reproducible", "--threads", str(threads), "--epochs", "1")
        python(*TRAIN, *flags, "--output", f"{ranks}.h5", ranks=ranks, env=env, cwd=tmp_path).good()
        with h5py.File(tmp_path / f"{ranks}.h5") as run:
            assert "CNR AUTO (libmkl_rt.so" in run.attrs["blas_library"]
            hashes.add(run.attrs["params_sha256"])
    assert len(hashes) == 1
    done = python(*TRAIN, "--backend", "gemv", "--threads", "2", env=env, cwd=tmp_path)
    assert (done.code, "gemv with threads 2: oneMKL has one thread" in done.err) == (69, True)
