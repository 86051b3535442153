"""A command typed at a shell that ``srun --pty`` started is no rank of that step."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hpcpgd.cli.launcher import launcher_size, mismatch
from hpcpgd.environment.step_shell import in_step_shell, leave_step
from hpcpgd.errors import UsageError
from hpcpgd.study import launchers

STEP = {
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "0", "SLURM_PTY_PORT": "4711", "SLURM_TASK_PID": "55",
}  # fmt: skip
PMI = {"PMI_FD": "11", "PMI_RANK": "0", "PMI_SIZE": "4"}


def task(processes: Path, *words: str, **variables: str) -> Path:
    """Make the process of the step's first task."""
    folder = processes / "55"
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
    pairs = (f"{name}={value}" for name, value in {**STEP, **variables}.items())
    (folder / "environ").write_bytes(b"".join(os.fsencode(pair) + b"\0" for pair in pairs))
    return processes


@pytest.mark.parametrize("interface", [{}, PMI])
@pytest.mark.parametrize(
    "words", [("-bash",), ("bash", "-i"), ("/bin/bash", "--norc", "-i"), ("zsh",)]
)
def test_a_shell_that_takes_commands(
    words: tuple[str, ...], interface: dict[str, str], tmp_path: Path
) -> None:
    environ = {**STEP, **interface}
    leave_step(environ, task(tmp_path, *words, **interface))
    assert launcher_size(environ) is None
    assert mismatch(1, environ) is None
    kept = {"SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PTY_PORT"}
    assert set(environ) == kept
    assert in_step_shell(environ)
    again = dict(environ)
    leave_step(again, tmp_path)
    assert again == environ


def test_a_shell_of_salloc_lets_other_steps_have_the_cores(tmp_path: Path) -> None:
    environ = {**STEP, "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"}
    leave_step(environ, task(tmp_path, "/bin/bash"))
    assert set(environ) == {"SLURM_JOB_ID", "SLURM_NTASKS"}
    assert not in_step_shell(environ)


@pytest.mark.parametrize(
    "words",
    [("bash", "run.sh"), ("bash", "-lc", "python x"), ("timeout", "9", "python"), ("python", "x")],
)
def test_a_script_or_a_program_that_the_step_runs(words: tuple[str, ...], tmp_path: Path) -> None:
    environ = {**STEP, **PMI}
    leave_step(environ, task(tmp_path, *words, **PMI))
    assert environ == {**STEP, **PMI}
    assert not in_step_shell(environ)


def test_a_program_that_the_step_itself_starts(tmp_path: Path) -> None:
    environ = {**STEP, "SLURM_TASK_PID": str(os.getpid())}
    before = dict(environ)
    leave_step(environ)
    assert environ == before


@pytest.mark.parametrize(
    "theirs",
    [{"PMI_FD": "9", "PMI_RANK": "1"}, {"OMPI_COMM_WORLD_RANK": "1"}, {"PMIX_RANK": "1"}],
)
def test_ranks_that_a_launcher_started_at_that_shell(
    theirs: dict[str, str], tmp_path: Path
) -> None:
    environ = {**STEP, **PMI, **theirs}
    leave_step(environ, task(tmp_path, "bash", "-i", **PMI))
    assert environ == {**STEP, **PMI, **theirs}


def test_where_nobody_can_tell_the_refusal_names_the_shell(tmp_path: Path) -> None:
    """An example is a container that does not show the process of the task."""
    environ = dict(STEP)
    leave_step(environ, tmp_path)
    assert environ == STEP
    text = mismatch(1, environ)
    assert text is not None
    assert "at a shell that srun --pty started: unset SLURM_STEP_NUM_TASKS" in text
    del environ["SLURM_STEP_NUM_TASKS"]
    assert mismatch(1, environ) is None


def test_other_steps_need_leave_to_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv("SLURM_PTY_PORT", "4711")
    with pytest.raises(UsageError, match="give 'srun --overlap'"):
        launchers.find("srun --mpi=pmi2")
    assert launchers.find("srun --overlap --mpi=pmi2").is_srun
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert launchers.find("srun --mpi=pmi2").is_srun
