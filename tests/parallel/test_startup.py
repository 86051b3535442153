"""MPI's start and end in any environment, also if a rank never arrives."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpcpgd.parallel import startup
from tests.helpers.support import TRAIN, environment, mpiexec, python, run, started, wait_until

needs_mpich = pytest.mark.usefixtures("mpich")


@pytest.fixture(scope="module")
def mpich() -> None:
    """Skip what needs a library with MPICH's PMI, and its way to fail."""
    library = python("-c", "from hpcpgd.parallel import mpi; print(mpi.implementation())").out
    if "MPICH" not in library:
        pytest.skip(f"needs MPICH, not {library}")


@contextmanager
def waiting(words: tuple[str, ...], cwd: Path, rank: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Run a command as one of two ranks, of which the other never comes; wait for MPI_Init."""
    ours, theirs = socket.socketpair()
    told = {"PMI_FD": str(theirs.fileno()), "PMI_RANK": str(rank), "PMI_SIZE": "2"}
    command, env, passed = [sys.executable, *words], environment(**told), [theirs.fileno()]
    with started(command, cwd, env, pass_fds=passed) as process, ours, theirs:
        ours.settimeout(60)
        assert ours.recv(64).startswith(b"cmd=init")
        yield process


@needs_mpich
@pytest.mark.parametrize(
    ("words", "number", "code", "says"),
    [
        (TRAIN, signal.SIGTERM, 75, "hpcpgd train: stopped by SIGTERM before training began"),
        (TRAIN, signal.SIGUSR1, 75, "hpcpgd train: stopped by SIGUSR1 before training began"),
        (TRAIN, signal.SIGINT, 130, "hpcpgd train: interrupted\n"),
        (("-m", "hpcpgd.doctor"), signal.SIGINT, 130, "hpcpgd doctor: interrupted\n"),
        (("-m", "hpcpgd.study", "select"), signal.SIGINT, 130, "hpcpgd study select: interrupted"),
    ],
)
def test_a_signal_ends_what_waits_for_other_ranks_to_start(
    words: tuple[str, ...], number: signal.Signals, code: int, says: str, tmp_path: Path
) -> None:
    with waiting(words, tmp_path) as process:
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said.count("\n")) == (code, 1)
    assert said.startswith(says)
    assert [*tmp_path.iterdir()] == []


@needs_mpich
def test_of_several_ranks_that_are_stopped_the_first_speaks(tmp_path: Path) -> None:
    with waiting(TRAIN, tmp_path, rank=1) as process:
        process.send_signal(signal.SIGTERM)
        assert (process.communicate(timeout=60)[1], process.returncode) == ("", 75)


@needs_mpich
def test_what_waits_long_for_other_ranks_says_so(tmp_path: Path) -> None:
    code = (
        "from hpcpgd.parallel import startup; startup.WAITING_SECONDS = 0.01;"
        "from hpcpgd.train import cli; cli.main([])"
    )
    with waiting(("-c", code), tmp_path) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
    assert said.startswith("hpcpgd train: warning: MPI_Init has waited")
    assert "2 ranks that the launcher started (PMI_SIZE)" in said


def test_mpi_that_does_not_end_is_left() -> None:
    """The other rank never calls MPI_Finalize."""
    code = (
        "import time; from hpcpgd.parallel import mpi, watchdog; world = mpi.start()\n"
        "if world.rank: time.sleep(600)\n"
        "watchdog.FAREWELL = 0.1\n"
        "with watchdog.farewell('hpcpgd train'): mpi.finish()"
    )
    done = python("-c", code, ranks=2, timeout=60).ended(71)
    assert "hpcpgd train: error: the work is done, but MPI does not end in 0 s" in done.err


@pytest.fixture(scope="module")
def turkish(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables of a shell whose user writes Turkish."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None:
        pytest.skip("no localedef, which makes locales")
    made = run(["localedef", "-i", "tr_TR", "-f", "UTF-8", str(folder / "tr_TR.UTF-8")], 60)
    if not (folder / "tr_TR.UTF-8").exists():
        pytest.skip(f"no Turkish locale can be made: {made.err}")
    return {"LOCPATH": str(folder), "LC_ALL": "tr_TR.UTF-8"}


def test_a_locale_in_which_i_is_another_letter(turkish: dict[str, str], tmp_path: Path) -> None:
    words = ("--epochs", "1", "--quiet", "--output", "r.h5")
    done = python(*TRAIN, *words, ranks=2, env=environment(**turkish), cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "", "")


def test_the_doctor_s_own_ranks_start_in_any_locale(turkish: dict[str, str]) -> None:
    pair = ("-m", "hpcpgd.doctor.print_world_size")
    done = python(*pair, ranks=2, env=environment(**turkish))
    assert (done.code, done.out.count("size=2"), done.err) == (0, 2, "")


def test_variables_that_overrule_what_the_program_tells_mpi4py(tmp_path: Path) -> None:
    """With them the import would start MPI, before anybody attends, and warn of a word."""
    given = {"MPI4PY_RC_INITIALIZE": "yes", "MPI4PY_RC_ERRORS": "rubbish"}
    code = "from hpcpgd.parallel.mpi import MPI; print(MPI.Is_initialized())"
    done = python("-c", code, env=environment(**given), cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "False\n", "")


def test_what_open_mpi_is_told_unless_its_user_tells_it() -> None:
    ours: dict[str, str] = {}
    startup.settle(ours)
    assert ours == {"OMPI_MCA_osc": "^ucx"}
    theirs = {"OMPI_MCA_osc": "ucx"}
    startup.settle(theirs)
    assert theirs == {"OMPI_MCA_osc": "ucx"}


NO_TRANSPORT = {"UCX_TLS": "nonsense", "FI_PROVIDER": "nonsense"}


@needs_mpich
def test_mpi_that_cannot_start_has_our_exit_code_and_a_line(tmp_path: Path) -> None:
    """MPICH ends the process itself, with a number that may be that of a signal's."""
    done = python(*TRAIN, env=environment(**NO_TRANSPORT), cwd=tmp_path).ended(69)
    assert done.err.splitlines()[-1].startswith("hpcpgd train: error: MPI_Init failed, its own")
    job = python(*TRAIN, ranks=2, env=environment(**NO_TRANSPORT), cwd=tmp_path)
    assert job.err.count("hpcpgd train: error: MPI_Init failed, its own") == 1
    assert job.err.count("take its own") == 1
    doctor = python("-m", "hpcpgd.doctor", env=environment(**NO_TRANSPORT), cwd=tmp_path).ended(69)
    assert "problem  MPI: MPI_Init fails with the message above" in doctor.out
    assert "enlarge /dev/shm" not in doctor.out
    assert doctor.out.endswith("exit code 69\n")


LATE = """
import sys, time
from hpcpgd.train import cli, session
from hpcpgd.parallel.mpi import MPI
inner = session.load_on_all
def load_on_all(*arguments):
    if MPI.COMM_WORLD.rank == 1:
        open("late", "w").close()
        time.sleep(600)
    return inner(*arguments)
session.load_on_all = load_on_all
sys.exit(cli.main(["--output", "r.h5"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_ranks_that_wait_for_each_other_before_the_first_step(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = [mpiexec(), "-n", "2", sys.executable, "-c", LATE]
    with started(command, tmp_path) as job:
        wait_until((tmp_path / "late").exists, 60)
        job.send_signal(number)
        said = job.communicate(timeout=60)[1]
    assert job.returncode == 75, said
    assert said.count(f"stopped by {number.name} before training began: run again") == 1
    assert not (tmp_path / "r.h5").exists()
