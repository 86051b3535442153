"""What the launcher's variables mean, and which process speaks."""

from __future__ import annotations

import pytest

from hpcpgd.errors import ConfigError
from hpcpgd.launch import complain, guarded, launcher_rank, launcher_size, mismatch


def test_plain_python_inside_an_allocation_is_one_rank() -> None:
    assert mismatch(1, {"SLURM_NTASKS": "32", "SLURM_PROCID": "0"}) is None
    assert launcher_size({"SLURM_NTASKS": "32"}) is None


@pytest.mark.parametrize(
    "name", ["PMI_SIZE", "PMIX_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"]
)
def test_many_started_but_each_alone(name: str) -> None:
    text = mismatch(1, {name: "4"})
    assert text is not None
    assert "4 ranks" in text
    assert name in text
    assert mismatch(4, {name: "4"}) is None
    assert mismatch(1, {name: "1"}) is None


@pytest.mark.parametrize("name", ["PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"])
def test_rank(name: str) -> None:
    assert launcher_rank({name: "3"}) == 3
    assert launcher_rank({}) == 0
    assert launcher_rank({name: "rubbish"}) == 0
    assert launcher_rank({name: "9" * 5000}) == 0


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
