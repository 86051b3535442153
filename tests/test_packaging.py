"""The package works from a wheel (made from an sdist) and from a bare checkout."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.support import ROOT, environment, python, run

WHERE = (
    "import hpcpgd, hpcpgd.kernels.backends.gemm as g, sys; from hpcpgd.train import cli; "
    "print(hpcpgd.__file__, g.__file__); "
    "sys.exit(cli.main(['--epochs', '1', '--quiet', '--output', 'r.h5']))"
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks or would, symbolic link and all."""
    target = tmp_path_factory.mktemp("checkout") / "hpcpgd-copy"
    for name in ("hpcpgd", "kernels"):
        shutil.copytree(
            ROOT / name, target / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target / name)
    return target


def test_bare_checkout(checkout: Path) -> None:
    assert (checkout / "hpcpgd" / "kernels").readlink() == Path("../kernels")
    done = python("-c", WHERE, cwd=checkout).good()
    assert all(Path(p).is_relative_to(checkout) for p in done.out.split())
    (checkout / "r.h5").unlink()


@pytest.mark.long(
    reason="builds and installs; the bare checkout and the installed command always run"
)
def test_wheel(checkout: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    run([*build, str(checkout)], 200).ended(0)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "kernels/backends/gemm.py",
        "kernels/device/cuda.cu",
        "data/digits.npz",
        "data/digits.LICENSE.txt",
        "py.typed",
        "study/templates/strong.toml",
    ):
        assert f"hpcpgd/{wanted}" in names
    assert not [n for n in names if n.startswith(("kernels/", "tests/", "scripts/"))]
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run([*pip, "--target", str(target), str(wheel)], 120).ended(0)
    env = environment(PYTHONPATH=str(target))
    done = python("-c", WHERE, env=env, cwd=tmp_path).good()
    assert all(Path(p).is_relative_to(target) for p in done.out.split())


def test_console_command(tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("hpcpgd"))
    run([command, "train", "--epochs", "1", "--output", "r.h5"], 60, cwd=tmp_path).good()
    done = run([command, "trian"], 60).ended(2)
    assert done.err.splitlines() == [
        "hpcpgd: error: unknown command 'trian': expected one of train, study, data, info, "
        "compare, plot, predict, export, compile, doctor; did you mean 'train'?"
    ]
    done = run([command], 60)
    assert (done.code, "compare" in done.out) == (0, True)
    done = run([command, "--version"], 60)
    assert (done.code, done.out) == (0, "hpcpgd 0.1.0\n")
    done = run([command, "data", "info", "digits"], 60).ended(0)
    assert "1500 rows" in done.out
