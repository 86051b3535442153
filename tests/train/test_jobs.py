"""Whole jobs as a user starts them: many ranks, faults, launchers that do not fit."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import h5py
import pytest

from tests.helpers.support import TRAIN, environment, mpiexec, python, run

FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.long(reason="the main job on 3 ranks, and a cold cache on 3, always run")
def test_32_ranks_with_no_arguments_and_a_cold_cache(tmp_path: Path) -> None:
    """The main job; /timing shows that every rank computed rows."""
    env = environment(XDG_CACHE_HOME=str(tmp_path / "cache"))
    env.pop("NUMBA_CACHE_DIR", None)
    python(*TRAIN, ranks=32, timeout=240, env=env, cwd=tmp_path).good()
    (file,) = tmp_path.glob("hpcpgd-digits-*.h5")
    with h5py.File(file) as f:
        assert f["test/accuracy"][()] >= 0.9
        rows = f["timing/segment1/rows"][...]
        assert rows.shape == (30, 32)
        assert (rows > 0).all()
        assert (rows.sum(axis=1) == 1250).all()


@pytest.mark.parametrize("columns", [120, 0])
def test_a_terminal_gets_a_bar(columns: int, tmp_path: Path) -> None:
    """One without size is Open MPI's, which a batch log reads: it gets lines."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", columns // 3, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *TRAIN, "--epochs", "3", "--output", "r.h5"],
        stdout=slave, stderr=subprocess.PIPE, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    os.close(slave)
    seen = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert b"3/3" in seen
    assert (b"epoch/s" in seen or b"s/epoch" in seen) == (columns > 0)
    assert (b"epoch 2/3" in seen) == (columns == 0)


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    command = f"{sys.executable} -m hpcpgd.train --output r.h5 | head -n 1"
    run(["bash", "-c", f"set -o pipefail; {command}"], 60, cwd=tmp_path).good()
    with h5py.File(tmp_path / "r.h5") as f:
        assert f.attrs["status"] == "complete"


HURRIED = (
    "import sys; from hpcpgd.cli import launcher; from hpcpgd.train import cli;"
    "launcher.HEARING_SECONDS = 0.0;"
)


@pytest.mark.parametrize(
    ("size", "rank"),
    [
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
        ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
    ],
)
def test_a_launcher_that_does_not_fit_is_refused_once(size: str, rank: str, tmp_path: Path) -> None:
    """Every process believes that it is alone: so does this one."""
    for number, lines in ((0, 1), (3, 0)):
        env = environment(**{size: "4", rank: str(number)})
        done = python("-c", f"{HURRIED} sys.exit(cli.main([]))", env=env, cwd=tmp_path).ended(78)
        assert len(done.err.splitlines()) == lines
        if lines:
            assert "4 ranks" in done.err
            assert "mpirun" in done.err
    assert list(tmp_path.iterdir()) == []


def test_of_ranks_that_nobody_has_counted_the_second_speaks(tmp_path: Path) -> None:
    for number, lines in ((1, 1), (2, 0)):
        env = environment(ALPS_APP_PE=str(number))
        done = python("-c", f"{HURRIED} sys.exit(cli.main([]))", env=env, cwd=tmp_path)
        assert (done.code, len(done.err.splitlines())) == (78, lines)
    assert list(tmp_path.iterdir()) == []


def test_plain_python_inside_an_allocation_runs(tmp_path: Path) -> None:
    env = environment(SLURM_NTASKS="32", SLURM_JOB_ID="77", SLURM_PROCID="0")
    python(*TRAIN, "--epochs", "1", env=env, cwd=tmp_path).good()
    assert [p.name.split("-")[-2] for p in tmp_path.glob("*.h5")] == ["77"]  # then the run


FAULT = """
import sys
from hpcpgd.train import cli, session
from hpcpgd.errors import OutputError
from hpcpgd.parallel.mpi import MPI
inner = session.make_trainer
def make_trainer(*arguments):
    trainer = inner(*arguments)
    step = trainer.reduction.step
    def fail(epoch, number, rate):
        if (epoch, number, MPI.COMM_WORLD.rank) == (2, 3, 1):
            {fault}
        return step(epoch, number, rate)
    trainer.reduction.step = fail
    return trainer
session.make_trainer = make_trainer
sys.exit(cli.main(["--output", "r.h5"]))
"""


@pytest.mark.parametrize(
    ("fault", "word", "code"),
    [
        ("raise ValueError('thing')", "ValueError: thing", 70),
        ("raise OutputError('alone')", "hpcpgd train: error: rank 1: alone", 74),
        ("raise MemoryError('thing')", "rank 1: too little memory: MemoryError: thing", 69),
        ("sys.exit(3)", "SystemExit: 3", 70),
    ],
)
def test_an_error_on_one_rank_ends_all(fault: str, word: str, code: int, tmp_path: Path) -> None:
    start = time.monotonic()
    done = python("-c", FAULT.format(fault=fault), ranks=3, timeout=60, cwd=tmp_path)
    assert time.monotonic() - start < 30
    assert done.code == code
    assert word in done.err
    if code == 70:
        assert "rank 1 of 3" in done.err
        assert "Traceback" in done.err


BEFORE_MPI = """
import sys
from hpcpgd.train import cli
from hpcpgd.config import flags
from hpcpgd.cli.launcher import launcher_rank
parse = flags.parse
def fail(words):
    if launcher_rank() == 1:
        {fault}
    return parse(words)
flags.parse = fail
sys.exit(cli.main(["--output", "r.h5"]))
"""


@pytest.mark.parametrize("fault", ["raise RuntimeError('thing')", "sys.exit(3)"])
def test_an_error_on_one_rank_before_mpi_starts_ends_all(fault: str, tmp_path: Path) -> None:
    done = python("-c", BEFORE_MPI.format(fault=fault), ranks=3, timeout=60, cwd=tmp_path).ended(70)
    assert "internal error on rank 1 of 3" in done.err
    python("-c", BEFORE_MPI.format(fault=fault), timeout=60, cwd=tmp_path).ended(0)


@pytest.mark.parametrize(("ranks", "output"), [(1, ">&-"), (2, ">/dev/full")])
def test_a_log_that_cannot_be_written_does_not_end_the_run(
    ranks: int, output: str, tmp_path: Path
) -> None:
    train = f"{sys.executable} -m hpcpgd.train --epochs 2 --output r.h5"
    # Under a launcher each rank's own output is what fails.
    inner = f"exec {train} {output}"
    command = ["bash", "-c", inner] if ranks == 1 else [mpiexec(), "-n", "2", "bash", "-c", inner]
    run(command, 60, cwd=tmp_path).good()
    with h5py.File(tmp_path / "r.h5") as f:
        assert f.attrs["status"] == "complete"


def test_names_that_no_encoding_knows(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xc3\xa9.h5")
    env = environment(PYTHONIOENCODING="ascii")
    python(*TRAIN, "--epochs", "1", "--output", name, env=env, cwd=tmp_path).good()
    names = {b"\xff\xc3\xa9.h5", b"\xff\xc3\xa9.checkpoints"}
    assert {os.fsencode(p.name) for p in tmp_path.iterdir()} == names
    done = python(*TRAIN, "--dataset", os.fsdecode(b"\xff.npz"), ranks=2, env=env, cwd=tmp_path)
    done.one_line(65)


def test_without_an_mpi_library(tmp_path: Path) -> None:
    env = environment(MPI4PY_LIBMPI="/nonexistent/libmpi.so")
    python(*TRAIN, env=env, cwd=tmp_path).one_line(69, "MPI cannot be loaded")


@pytest.mark.large
@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("ranks", [1, 4])
def test_fashion_mnist_net_1h_one_epoch(ranks: int, tmp_path: Path) -> None:
    arguments = ("--dataset", "fashion-mnist", "--network", "net-1h", "--batch-size", "128")
    more = ("--learning-rate", "0.1", "--epochs", "1", "--output", "r.h5")
    python(*TRAIN, *arguments, *more, ranks=ranks, cwd=tmp_path).good()
    with h5py.File(tmp_path / "r.h5") as f:
        assert f["timing/segment1/rows"][...].sum() == 50_000
        assert f["test/confusion"][...].sum() == 10_000
        assert f["test/accuracy"][()] > 0.5


@pytest.mark.long(reason="a minute for one number; an epoch of Fashion-MNIST always runs")
@pytest.mark.large
@pytest.mark.skipif(
    "HPCPGD_TEST_DATA" not in os.environ, reason="HPCPGD_TEST_DATA names no folder with mnist-5k"
)
def test_real_mnist_reaches_88_percent(tmp_path: Path) -> None:
    """5,000 training digits, the official test set, the paper's network and loss.

    README.md reports three seeds.
    """
    data = Path(os.environ["HPCPGD_TEST_DATA"]) / "mnist-5k"
    arguments = ("--dataset", str(data), "--network", "net-1h", "--batch-size", "8")
    more = ("--learning-rate", "0.1", "--epochs", "30", "--output", "r.h5")
    python(*TRAIN, *arguments, *more, ranks=2, timeout=280, cwd=tmp_path).good()
    with h5py.File(tmp_path / "r.h5") as f:
        assert f["test/accuracy"][()] >= 0.88


NO_BLAS = (
    "import sys; from hpcpgd.kernels.blas import blas_library; from hpcpgd.train import cli; "
    "blas_library.find = lambda path: None; sys.exit(cli.main())"
)


def test_without_a_usable_blas_gemm_says_what_it_does(tmp_path: Path) -> None:
    arguments = ("--epochs", "2", "--output", "r.h5")
    done = python("-c", NO_BLAS, *arguments, ranks=2, cwd=tmp_path).good()
    assert "BLAS numpy.matmul (NumPy's BLAS exports no usable symbol)" in done.out
    with h5py.File(tmp_path / "r.h5") as f:
        assert "numpy.matmul" in f.attrs["blas_library"]
        loss = f["history/train_loss"][1]
    done = python(*TRAIN, "--epochs", "2", "--output", "s.h5", ranks=2, cwd=tmp_path)
    with h5py.File(tmp_path / "s.h5") as f:
        assert abs(f["history/train_loss"][1] - loss) < 1e-5


def test_without_a_usable_blas_gemv_is_unavailable(tmp_path: Path) -> None:
    python("-c", NO_BLAS, "--backend", "gemv", ranks=3, cwd=tmp_path).one_line(69, "HPCPGD_BLAS")


def test_a_named_blas_that_is_none(tmp_path: Path) -> None:
    libc = "libm.so.6" if sys.platform == "linux" else "libm.dylib"
    for path, word in (("/none.so", "none.so"), (libc, "exports no cblas_sgemm")):
        python(*TRAIN, env=environment(HPCPGD_BLAS=path), cwd=tmp_path).one_line(69, word)
    assert list(tmp_path.iterdir()) == []
