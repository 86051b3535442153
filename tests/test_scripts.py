"""The long checks in their quick form: they run and say what they should; no timing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import python, run

SCRIPTS = Path(__file__).parent.parent / "scripts"


def test_check_clock_runs() -> None:
    done = python(str(SCRIPTS / "check_clock.py"), "--quick", timeout=120)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["1 ranks", "2 ranks"]
    assert all("ratio" in line for line in lines)


def test_check_timers_runs() -> None:
    done = python(str(SCRIPTS / "check_timers.py"), "--quick", timeout=120)
    assert (done.code, done.err) == (0, "")
    # Beginning, data, compute and update.
    assert done.out.startswith("4 readings a step")


SHELL = sorted(SCRIPTS.glob("*.sh")) + sorted((SCRIPTS.parent / "slurm").glob("*.sbatch"))


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse(path: Path) -> None:
    assert run(["bash", "-n", str(path)], 10).code == 0
