"""Whether another rank of this machine has ended, from a stand-in for /proc."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hpcpgd.environment.siblings import rank_is_gone
from tests.helpers.support import mpiexec, run

LAUNCHER, SHELL, SELF = 10, 20, 31
Add = Callable[..., None]


def rank_of(environ: Mapping[str, str]) -> int | None:
    return int(environ["PMI_RANK"]) if "PMI_RANK" in environ else None


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """Return a function that adds a process; rank 1 of 3 is there, and its launcher."""

    def process(number: int, parent: int, environ: str = "HOME=/", name: str = "python") -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "stat").write_text(f"{number} ({name}) S {parent} 1 1 0")
        (folder / "environ").write_bytes(environ.replace(" ", "\0").encode())

    process(LAUNCHER, 1, name="hydra (1) proxy")
    process(SELF, LAUNCHER, "HOME=/ PMI_RANK=1")
    (tmp_path / "self").symlink_to(str(SELF))
    (tmp_path / "cpuinfo").write_text("")
    return process


def gone(proc: Path) -> bool:
    return rank_is_gone(0, 3, rank_of, proc)


def test_it_works_or_has_ended(add: Add, tmp_path: Path) -> None:
    add(32, LAUNCHER, "PMI_RANK=2")
    assert gone(tmp_path)
    add(30, LAUNCHER, "PMI_RANK=0")
    assert not gone(tmp_path)


def test_what_has_ended_and_is_not_yet_buried_is_gone(add: Add, tmp_path: Path) -> None:
    add(30, LAUNCHER, "")
    assert gone(tmp_path)


def test_a_process_that_is_not_yet_a_rank_may_become_it(add: Add, tmp_path: Path) -> None:
    add(30, LAUNCHER)
    assert not gone(tmp_path)


def test_another_launcher_s_ranks_are_others(add: Add, tmp_path: Path) -> None:
    add(11, 1)
    add(40, 11, "PMI_RANK=0")
    assert gone(tmp_path)


def test_shells_around_the_ranks(add: Add, tmp_path: Path) -> None:
    add(SHELL, LAUNCHER, "PMI_RANK=1")
    (tmp_path / str(SELF) / "stat").write_text(f"{SELF} (python) S {SHELL} 1 1 0")
    add(19, LAUNCHER, "PMI_RANK=0")
    assert not gone(tmp_path)
    (tmp_path / "19" / "environ").write_bytes(b"")
    assert gone(tmp_path)


@pytest.mark.parametrize("missing", [f"{LAUNCHER}/environ", "self"])
def test_what_cannot_be_seen_is_not_gone(missing: str, add: Add, tmp_path: Path) -> None:
    (tmp_path / missing).unlink()
    assert not gone(tmp_path)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_refused_job_does_not_wait_for_ever(wrapped: bool, tmp_path: Path) -> None:
    """It does not wait ``HEARING_SECONDS``, as for an invisible rank: here they are a day."""
    code = (
        "import sys; from hpcpgd.cli import launcher; launcher.HEARING_SECONDS = 86400.0;"
        "from hpcpgd.study.cli import main; sys.exit(main(['select', '--learning-rate', '1']))"
    )
    (tmp_path / "job.py").write_text(code)
    rank = [sys.executable, "job.py"]
    words = ["sh", "-c", f'"{rank[0]}" job.py; exit $?'] if wrapped else rank
    command = [mpiexec(), "-n", "3", *words]
    run(command, 120, cwd=tmp_path).one_line(2, "select tries the rates")
