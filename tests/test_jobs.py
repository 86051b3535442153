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
import numpy as np
import pytest

from hpcpgd.kernels.network import Network
from tests.support import TRAIN, environment, mpiexec, python, run

FASHION = Path("/usr/share/datasets/fashion-mnist")


def test_32_ranks_with_no_arguments_and_a_cold_cache(tmp_path: Path) -> None:
    """The main job; /timing shows that every rank computed rows."""
    env = environment(XDG_CACHE_HOME=str(tmp_path / "cache"))
    env.pop("NUMBA_CACHE_DIR", None)
    done = python(*TRAIN, ranks=32, timeout=240, env=env, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    (file,) = tmp_path.glob("hpcpgd-digits-*.h5")
    with h5py.File(file) as f:
        assert f["test/accuracy"][()] >= 0.9
        rows = f["timing/segment1/rows"][...]
        assert rows.shape == (30, 32)
        assert (rows > 0).all()
        assert (rows.sum(axis=1) == 1250).all()


def test_batch_log_has_one_line_an_epoch_from_one_rank(tmp_path: Path) -> None:
    done = python(*TRAIN, "--epochs", "4", "--output", "r.h5", ranks=3, cwd=tmp_path)
    lines = done.out.splitlines()
    assert [x.split()[1] for x in lines if x.startswith("epoch ")] == ["1/4", "2/4", "3/4", "4/4"]
    assert sum("run file" in x for x in lines) == 1
    quiet = python(*TRAIN, "--epochs", "1", "--output", "q.h5", "--quiet", ranks=2, cwd=tmp_path)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


@pytest.mark.parametrize("columns", [120, 0])
def test_a_terminal_gets_a_bar(columns: int, tmp_path: Path) -> None:
    """One without size is Open MPI's, which a batch log reads: it gets lines."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", columns // 3, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, *TRAIN, "--epochs", "3", "--output", "r.h5"],
        stdout=slave,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(),
    )
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
    done = run(["bash", "-c", f"set -o pipefail; {command}"], 60, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    with h5py.File(tmp_path / "r.h5") as f:
        assert f.attrs["status"] == "complete"


def test_help_and_print_config_come_from_one_rank(tmp_path: Path) -> None:
    for argument, word in (("--help", "usage:"), ("--print-config", "[train]")):
        done = python(*TRAIN, argument, ranks=3, cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        assert done.out.count(word) == 1


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD", "SLURM_STEP"])
def test_a_launcher_that_does_not_fit_is_refused_once(variable: str, tmp_path: Path) -> None:
    """Every process believes that it is alone: so does this one."""
    size, rank = {
        "OMPI_COMM_WORLD": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
        "SLURM_STEP": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    }[variable]
    for number, lines in ((0, 1), (3, 0)):
        env = environment(**{size: "4", rank: str(number)})
        done = python(*TRAIN, env=env, cwd=tmp_path)
        assert done.code == 78
        assert len(done.err.splitlines()) == lines
        if lines:
            assert "4 ranks" in done.err
            assert "mpirun" in done.err
    assert list(tmp_path.iterdir()) == []


def test_plain_python_inside_an_allocation_runs(tmp_path: Path) -> None:
    env = environment(SLURM_NTASKS="32", SLURM_JOB_ID="77", SLURM_PROCID="0")
    done = python(*TRAIN, "--epochs", "1", env=env, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert [p.name.split("-")[-1] for p in tmp_path.iterdir()] == ["77.h5"]


FAULT = """
import sys
from hpcpgd import session, train
from hpcpgd.errors import OutputError
from hpcpgd.mpi import MPI
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
sys.exit(train.main(["--output", "r.h5"]))
"""


@pytest.mark.parametrize(
    ("fault", "word", "code"),
    [
        ("raise ValueError('thing')", "ValueError: thing", 70),
        ("raise OutputError('alone')", "hpcpgd train: error: rank 1: alone", 74),
        ("raise MemoryError('thing')", "MemoryError: thing", 70),  # no GPU is blamed
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
from hpcpgd import train
from hpcpgd.launch import launcher_rank
parse = train.parse
def fail(words):
    if launcher_rank() == 1:
        {fault}
    return parse(words)
train.parse = fail
sys.exit(train.main(["--output", "r.h5"]))
"""


@pytest.mark.parametrize("fault", ["raise RuntimeError('thing')", "sys.exit(3)"])
def test_an_error_on_one_rank_before_mpi_starts_ends_all(fault: str, tmp_path: Path) -> None:
    done = python("-c", BEFORE_MPI.format(fault=fault), ranks=3, timeout=60, cwd=tmp_path)
    assert done.code == 70
    assert "internal error on rank 1 of 3" in done.err
    alone = python("-c", BEFORE_MPI.format(fault=fault), timeout=60, cwd=tmp_path)
    assert alone.code == 0


@pytest.mark.parametrize("ranks", [1, 3])
def test_divergence_stops_every_rank_with_3(ranks: int, tmp_path: Path) -> None:
    arguments = ("--activation", "relu", "--output-activation", "linear", "--output", "r.h5")
    done = python(*TRAIN, *arguments, "--learning-rate", "1e30", ranks=ranks, cwd=tmp_path)
    assert done.code == 3
    assert len(done.err.splitlines()) == 1
    assert "lower the learning rate (now 1e+30)" in done.err
    with h5py.File(tmp_path / "r.h5") as f:
        assert f.attrs["status"] == "diverged"
        assert f["segments/last_step"][0] == int(done.err.split("step ")[1].split()[0])
        assert "model" not in f


def several(*programs: list[str]) -> list[str]:
    """Return an mpiexec command line with one rank for each program's arguments."""
    command = [mpiexec()]
    for number, arguments in enumerate(programs):
        colon = [":"] if number else []
        command += [*colon, "-n", "1", sys.executable, *TRAIN, *arguments]
    return command


@pytest.mark.parametrize(
    ("first", "second", "code", "word"),
    [
        (["--epochs", "1"], ["--epochs", "2"], 78, "epochs is 2, but 1 on rank 0"),
        (["--batch-size", "8"], ["--batch-size", "9"], 78, "batch_size is 9, but 8"),
        (["--epochs", "1"], ["--epochs", "0"], 2, "rank 1: --epochs: expected"),
        (["--epochs", "0"], ["--epochs", "1"], 2, "--epochs: expected"),
        (["--config", "none.toml"], [], 78, "none.toml"),
    ],
)
def test_ranks_that_differ(
    first: list[str], second: list[str], code: int, word: str, tmp_path: Path
) -> None:
    command = several([*first, "--output", "r.h5"], [*second, "--output", "r.h5"])
    done = run(command, 60, cwd=tmp_path)
    assert done.code == code
    assert len(done.err.splitlines()) == 1
    assert word in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ranks", "output"), [(1, ">&-"), (2, ">/dev/full")])
def test_a_log_that_cannot_be_written_does_not_end_the_run(
    ranks: int, output: str, tmp_path: Path
) -> None:
    train = f"{sys.executable} -m hpcpgd.train --epochs 2 --output r.h5"
    # Under a launcher each rank's own output is what fails.
    inner = f"exec {train} {output}"
    command = ["bash", "-c", inner] if ranks == 1 else [mpiexec(), "-n", "2", "bash", "-c", inner]
    done = run(command, 60, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    with h5py.File(tmp_path / "r.h5") as f:
        assert f.attrs["status"] == "complete"


def test_names_that_no_encoding_knows(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xc3\xa9.h5")
    env = environment(PYTHONIOENCODING="ascii")
    done = python(*TRAIN, "--epochs", "1", "--output", name, env=env, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert [os.fsencode(p.name) for p in tmp_path.iterdir()] == [b"\xff\xc3\xa9.h5"]
    done = python(*TRAIN, "--dataset", os.fsdecode(b"\xff.npz"), ranks=2, env=env, cwd=tmp_path)
    assert done.code == 65
    assert len(done.err.splitlines()) == 1


def test_without_an_mpi_library(tmp_path: Path) -> None:
    env = environment(MPI4PY_LIBMPI="/nonexistent/libmpi.so")
    done = python(*TRAIN, env=env, cwd=tmp_path)
    assert done.code == 69
    assert len(done.err.splitlines()) == 1
    assert "MPI cannot be loaded" in done.err


def test_all_ranks_know_the_name_of_the_run_file(tmp_path: Path) -> None:
    script = (
        "from hpcpgd import job, mpi;"
        "from hpcpgd.resolve import resolve; world = mpi.start();"
        "print(job.train(world, resolve({}, {'epochs': 1, 'quiet': True}))); mpi.finish()"
    )
    done = python("-c", script, ranks=3, cwd=tmp_path)
    assert done.code == 0
    (file,) = tmp_path.iterdir()
    assert done.out.count(file.name) == 3


@pytest.mark.large
@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("ranks", [1, 4])
def test_fashion_mnist_net_1h_one_epoch(ranks: int, tmp_path: Path) -> None:
    arguments = ("--dataset", "fashion-mnist", "--network", "net-1h", "--batch-size", "128")
    more = ("--learning-rate", "0.1", "--epochs", "1", "--output", "r.h5")
    done = python(*TRAIN, *arguments, *more, ranks=ranks, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    with h5py.File(tmp_path / "r.h5") as f:
        assert f["timing/segment1/rows"][...].sum() == 50_000
        assert f["test/confusion"][...].sum() == 10_000
        assert f["test/accuracy"][()] > 0.5


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
    done = python(*TRAIN, *arguments, *more, ranks=2, timeout=280, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    with h5py.File(tmp_path / "r.h5") as f:
        assert f["test/accuracy"][()] >= 0.88


NO_BLAS = (
    "import sys; from hpcpgd.kernels import blas; from hpcpgd import train; "
    "blas.find = lambda path: None; sys.exit(train.main())"
)


def test_without_a_usable_blas_gemm_says_what_it_does(tmp_path: Path) -> None:
    arguments = ("--epochs", "2", "--output", "r.h5")
    done = python("-c", NO_BLAS, *arguments, ranks=2, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "BLAS numpy.matmul (NumPy's BLAS exports no usable symbol)" in done.out
    with h5py.File(tmp_path / "r.h5") as f:
        assert "numpy.matmul" in f.attrs["blas_library"]
        loss = f["history/train_loss"][1]
    done = python(*TRAIN, "--epochs", "2", "--output", "s.h5", ranks=2, cwd=tmp_path)
    with h5py.File(tmp_path / "s.h5") as f:
        assert abs(f["history/train_loss"][1] - loss) < 1e-5


def test_without_a_usable_blas_gemv_is_unavailable(tmp_path: Path) -> None:
    done = python("-c", NO_BLAS, "--backend", "gemv", ranks=3, cwd=tmp_path)
    assert done.code == 69
    assert len(done.err.splitlines()) == 1
    assert "HPCPGD_BLAS" in done.err


def test_a_named_blas_that_is_none(tmp_path: Path) -> None:
    libc = "libm.so.6" if sys.platform == "linux" else "libm.dylib"
    for path, word in (("/none.so", "none.so"), (libc, "exports no cblas_sgemm")):
        done = python(*TRAIN, env=environment(HPCPGD_BLAS=path), cwd=tmp_path)
        assert done.code == 69
        assert len(done.err.splitlines()) == 1
        assert word in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_network_larger_than_the_memory(tmp_path: Path) -> None:
    done = python(*TRAIN, "--hidden", "9000000,9000000", ranks=3, cwd=tmp_path)
    assert done.code == 69
    assert len(done.err.splitlines()) == 1
    assert "network: 3 ranks on one node need" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("reduction", "ranks"),
    [("allreduce", 1), ("allreduce", 2), ("overlap", 2), ("shared", 2), ("reproducible", 2)],
)
def test_the_same_weights_for_a_chunked_slice(reduction: str, ranks: int, tmp_path: Path) -> None:
    """A full batch worked through in chunks gives the gradient of the whole."""
    script = (
        "import sys; from hpcpgd import jitcache, mpi, train; from hpcpgd.mpi import MPI; "
        "mpi.start(); jitcache.share_folder(mpi.join(MPI.COMM_WORLD)); "
        "from hpcpgd import parts, planning; from hpcpgd.reductions import grouped; "
        "limits = parts.ChunkLimits(int(sys.argv.pop(1)), 1); "
        "planning.HOST_CHUNK = grouped.HOST_CHUNK = limits; "
        "sys.exit(train.main())"
    )
    net = Network((64, 32, 10), "float64")
    assert 70_000 // net.bytes_per_row() == 59
    ends = []
    for size in ("10000000", "70000"):  # one chunk of 1,250 rows, or chunks of 59
        name = f"r{size}.h5"
        more = ("--batch-size", "full", "--dtype", "float64", "--epochs", "5", "--output", name)
        flags = (*more, "--reduction", reduction)
        done = python("-c", script, size, *flags, ranks=ranks, cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        with h5py.File(tmp_path / name) as f:
            ends.append(f["model/layer1/weights"][...])
    assert not np.array_equal(ends[0], ends[1])  # sums of chunks are rounded otherwise
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-13)
