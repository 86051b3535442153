"""What the launcher's variables mean, and which process speaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hpcpgd.cli.launcher import (
    LOCAL_SIZE_VARIABLES,
    RANK_VARIABLES,
    SIZE_VARIABLES,
    complain,
    guarded,
    launcher_rank,
    launcher_size,
    mismatch,
    without_launcher,
)
from hpcpgd.errors import ConfigError
from tests.helpers.support import environment


def test_plain_python_inside_an_allocation_is_one_rank() -> None:
    assert mismatch(1, {"SLURM_NTASKS": "32", "SLURM_PROCID": "0"}) is None
    assert launcher_size({"SLURM_NTASKS": "32"}) is None


@pytest.mark.parametrize("name", SIZE_VARIABLES)
def test_many_started_but_each_alone(name: str) -> None:
    text = mismatch(1, {name: "4"})
    assert text is not None
    assert "4 ranks" in text
    assert name in text
    assert mismatch(4, {name: "4"}) is None
    assert mismatch(1, {name: "1"}) is None


def test_the_launchers_that_say_how_many_ranks_they_started() -> None:
    """MPICH's and Intel's, PALS; PMIx; Open MPI; MVAPICH 2, 3 and 4; Flux; jsrun; SLURM."""
    named = {"PMI", "PMIX", "OMPI_COMM_WORLD", "MV2_COMM_WORLD", "MVP_COMM_WORLD"}
    others = {"MPI_NRANKS", "FLUX_JOB_SIZE", "JSM_NAMESPACE_SIZE", "SLURM_STEP_NUM_TASKS"}
    assert {f"{name}_SIZE" for name in named} | others == set(SIZE_VARIABLES)


@pytest.mark.parametrize("name", ["ALPS_APP_PE", "PALS_RANKID", "MP_CHILD", "PMIX_RANK"])
def test_a_launcher_that_does_not_say_how_many(name: str) -> None:
    """Rank 0 cannot know of the others; they know that it is there."""
    assert mismatch(1, {name: "0"}) is None
    text = mismatch(1, {name: "2"})
    assert text is not None
    assert f"rank 2 ({name})" in text
    assert mismatch(3, {name: "2"}) is None


@pytest.mark.parametrize("name", RANK_VARIABLES)
def test_rank(name: str) -> None:
    assert launcher_rank({name: "3"}) == 3
    assert launcher_rank({}) == 0
    assert launcher_rank({name: "rubbish"}) == 0
    assert launcher_rank({name: "9" * 5000}) == 0


def test_a_child_of_a_rank_is_no_rank_of_any_launcher() -> None:
    names = (*RANK_VARIABLES, *SIZE_VARIABLES, *LOCAL_SIZE_VARIABLES)
    assert without_launcher(dict.fromkeys(names, "1")) == {}


@pytest.mark.parametrize(
    ("trouble", "code"), [(SystemExit(0), 0), (KeyboardInterrupt(), 130), (ValueError("x"), 70)]
)
def test_every_end_of_a_command_is_an_exit_code(
    trouble: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise trouble

    assert guarded("hpcpgd", fail) == code
    assert ("ValueError: x" in capsys.readouterr().err) == (code == 70)


def test_one_line_from_the_one_who_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain("hpcpgd train", ConfigError("two\n lines"), True) == 78
    assert complain("hpcpgd train", ConfigError("silent"), False) == 78
    assert capsys.readouterr().err == "hpcpgd train: error: two lines\n"


@pytest.mark.parametrize("variables", [("MPI_RANKID", "MPI_NRANKS"), ("ALPS_APP_PE", "")])
def test_a_rank_that_does_not_speak_waits_until_the_one_that_does_is_heard(
    variables: tuple[str, str],
) -> None:
    """Launchers end the job when the first rank leaves with an error."""

    def start(rank: int) -> subprocess.Popen[str]:
        told = {variables[0]: str(rank), **({variables[1]: "3"} if variables[1] else {})}
        return subprocess.Popen(
            [sys.executable, "-m", "hpcpgd", "nonsense"], env=environment(**told),
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    with start(2) as silent, start(0) as speaker:
        said = speaker.communicate(timeout=60)[1]
        early = silent.poll()
        silent.terminate()  # as a launcher does
        assert (speaker.returncode, said.count("\n")) == (2, 1)
        assert (early, silent.communicate(timeout=60)[1]) == (None, "")
        assert silent.returncode == -15  # and not 75: nobody asked for a checkpoint
