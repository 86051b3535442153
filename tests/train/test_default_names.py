"""Default names never collide, and a job that is started again finds its earlier files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import h5py
import pytest

from hpcpgd.checkpoint import run_files
from hpcpgd.config.flags import parse
from hpcpgd.environment import batch_system
from hpcpgd.study.paper.paper_command import place_of
from hpcpgd.study.report_command import figures_of
from hpcpgd.train.claim_files import open_run
from tests.helpers.many import Case, together
from tests.helpers.support import Done

SLURM = {"SLURM_JOB_ID": "77"}
AGAIN = {**SLURM, "SLURM_RESTART_COUNT": "2"}
LSF = {"LSB_JOBID": "8", "LSB_JOBINDEX": "0"}
GRID_ENGINE = {"JOB_ID": "9", "SGE_TASK_ID": "undefined", "RESTARTED": "0"}


@pytest.mark.parametrize(
    ("variables", "label", "again"),
    [
        ({}, "", ""),
        (SLURM, "77", ""),
        ({**SLURM, "SLURM_RESTART_COUNT": "0"}, "77", ""),
        (AGAIN, "77", "SLURM_RESTART_COUNT=2"),
        (LSF, "8", ""),
        ({**LSF, "LSB_JOBINDEX": "3", "LSB_RESTART": "Y"}, "8.3", "LSB_RESTART=Y"),
        ({"PBS_JOBID": "5[2].server"}, "5[2].server", ""),
        (GRID_ENGINE, "9", ""),
        ({**GRID_ENGINE, "SGE_TASK_ID": "4", "RESTARTED": "1"}, "9.4", "RESTARTED=1"),
        ({"JOB_ID": "9", "RESTARTED": "1", "SLURM_RESTART_COUNT": "1"}, "", ""),
    ],
)
def test_what_batch_systems_say(variables: Mapping[str, str], label: str, again: str) -> None:
    assert batch_system.job_label(variables) == label
    assert batch_system.started_before(variables) == again


def test_folders_beside_files_are_as_many_as_the_files() -> None:
    names = ("r.h5", "r.hdf5", "rate-0.1", "rate-0.5", "rate-0.25.h5")
    found = [run_files.beside(Path("d", name)) for name in names]
    assert found[0] == Path("d/r.checkpoints")
    assert len({str(path) for path in found}) == len(names)
    assert run_files.beside(Path()) == Path(".checkpoints")  # --output ., which is refused by name
    drawn = [figures_of(Path("d", name)) for name in ("study.h5", "a.h5", "b.h5")]
    assert drawn == [Path("d/figures"), Path("d/a.figures"), Path("d/b.figures")]


def test_the_paper_on_two_datasets_has_two_folders() -> None:
    names = (None, "mnist", "/data/some digits.npz")
    found = [place_of(True, False, name, None).path.name for name in names]
    assert found == [f"hpcpgd-study-paper-quick{end}" for end in ("", "-mnist", "-some-digits.npz")]


# For a job whose clock does not advance.
STILL = """
import hpcpgd.train.session, datetime
class Still(datetime.datetime):
    now = classmethod(lambda cls, zone: cls(2026, 1, 1, tzinfo=zone))
hpcpgd.train.session.datetime = Still
"""
# What a job that ended before its runs did leaves: their files do not say that they have ended,
# and the checkpoints of their ends are missing.
CUT = """
import h5py, os, pathlib
for path in pathlib.Path().glob("hpcpgd-*.h5"):
    with h5py.File(path, "r+") as file:
        file.attrs["status"] = "running"
for path in pathlib.Path().rglob("*-step-000000000016.ckpt.h5"):
    path.unlink()
"""
REQUEUED = "import os; os.environ['SLURM_RESTART_COUNT'] = '1'"
RUN = ("train", "--reduction", "reproducible", "--train-rows", "275", "--batch-size", "37",
       "--epochs", "2", "--checkpoint-every", "5")  # fmt: skip
STEPS = 16
NAME = r"hpcpgd-digits-20260101T000000Z-77-[0-9a-f]{8}\.h5"


@dataclass(frozen=True)
class Job:
    """A folder with two runs that a job has left, and the outcome of the requeued job."""

    folder: Path
    done: dict[str, Done]
    names: tuple[str, ...]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("job")
    first = {name: Case(RUN, str(folder), setup=STILL) for name in ("a", "b")}
    done = together(first, SLURM_JOB_ID="77")
    names = tuple(sorted(path.name for path in folder.glob("*.h5")))
    shutil.copytree(folder, folder.with_name("copy"))
    cases = {
        "other": Case((*RUN, "--seed", "1"), str(folder), setup=f"{CUT}\n{REQUEUED}\n{STILL}"),
        "one": Case(RUN, str(folder)),
        "two": Case(RUN, str(folder)),
        "none": Case(RUN, str(folder)),
        "named": Case((*RUN, "--output", "n.h5", "--quiet"), str(folder)),
        "asked for": Case((*RUN, "--resume", "never"), str(folder)),
        "without": Case((*RUN[:-1], "never", "--quiet"), str(folder)),
    }
    return Job(folder, done | together(cases, SLURM_JOB_ID="77"), names)


def test_runs_of_one_job_in_one_second_have_names_of_their_own(job: Job) -> None:
    assert [(job.done[name].code, job.done[name].err) for name in ("a", "b")] == [(0, "")] * 2
    assert len(job.names) == 2
    for name in job.names:
        assert re.fullmatch(NAME, name)


def test_a_requeued_job_goes_on_with_its_runs_each_with_one(job: Job) -> None:
    for name in ("one", "two"):
        done = job.done[name].good()
        assert done.out.startswith("continuing from step 15 of ")
    for name in job.names:
        with h5py.File(job.folder / name) as file:
            assert file.attrs["status"] == "complete"
            assert file["segments/first_step"][...].tolist() == [1, STEPS]


ANEW = {
    "other": "it left no unfinished run of this command, with a checkpoint, in this folder",
    "none": "it left no unfinished run of this command, with a checkpoint, in this folder",
    "named": "n.checkpoints holds no checkpoint",
    "without": "--checkpoint-every never left no checkpoint",
}


@pytest.mark.parametrize("name", ANEW)
def test_a_requeued_job_that_begins_anew_says_why(name: str, job: Job) -> None:
    done = job.done[name]
    assert (done.code, done.err) == (
        0,
        "hpcpgd train: warning: SLURM_RESTART_COUNT=1: this job has been started before, but "
        f"{ANEW[name]}: it begins with step 1\n",
    )


def test_who_asked_to_begin_anew_is_told_nothing(job: Job) -> None:
    assert (job.done["asked for"].code, job.done["asked for"].err) == (0, "")


def test_no_run_of_a_requeued_job_takes_what_another_has(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(job.folder.with_name("copy"))
    for name, value in AGAIN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("hpcpgd.train.claim_files.DEAD_NODE_SECONDS", 0.0)
    for name in job.names:
        with h5py.File(name, "r+") as file:
            file.attrs["status"] = "stopped"
    config, argv = parse(RUN[1:])[0], ("hpcpgd", *RUN)
    now = run_files.files_of(config, datetime.now(UTC), "0a1b2c3d")
    opened = [open_run(config, now, argv) for _ in range(3)]
    try:
        taken = [str(one.files.run_file) for one in opened]  # in this folder, a copy of theirs
        assert sorted(taken) == sorted([*job.names, str(now.run_file)])
        assert [one.state is None for one in opened] == [False, False, True]
        assert "it begins with step 1" in capsys.readouterr().err
    finally:
        for one in opened:
            one.close()
