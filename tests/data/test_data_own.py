"""Datasets of the user's own, by the names of their folders in ``$HPCPGD_DATA``."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hpcpgd.checkpoint.run_files import files_of
from hpcpgd.cli import console
from hpcpgd.config.resolve import resolve
from hpcpgd.data import check_name, load, path_of
from hpcpgd.data.dataset import sha256
from hpcpgd.errors import DataError, OutputError, UsageError
from hpcpgd.train.claim_files import open_run
from tests.helpers.support import MINI, inside

TABLE = "a,b,label\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n9,1,0\n2,3,1\n"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of datasets, which is not the one in which the test runs."""
    folder = tmp_path / "data"
    monkeypatch.setenv("HPCPGD_DATA", str(folder))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(MINI, folder / "digits.v2")
    (folder / "digits.v2" / "README.txt").write_text("IDX files are what counts\n")
    for name in ("iris", "both", "empty"):
        (folder / name).mkdir()
    for name in ("iris/2024.csv", "both/a.csv", "both/b.csv"):
        (folder / name).write_text(TABLE)
    (folder / "iris" / "paper.pdf").write_bytes(b"%PDF")
    return folder


@pytest.mark.parametrize(("name", "place"), [("digits.v2", ""), ("iris", "2024.csv")])
def test_a_folder_is_known_by_its_name(name: str, place: str, data: Path) -> None:
    check_name(name)
    assert path_of(name) == data / name / place
    mine, theirs = load(name, seed=0), load(str(data / name / place), seed=0)
    assert (mine.name, sha256(mine)) == (name, sha256(theirs))


def test_a_name_is_ours_then_the_user_s_then_a_path(data: Path) -> None:
    shutil.copytree(MINI, "iris")
    assert [load(name, seed=0).n_out for name in ("iris", "./iris")] == [2, 10]
    (data / "digits").mkdir()
    assert load("digits", seed=0).train.rows == 1500


BAD = {
    "both": "has a.csv, b.csv: expected only one of them",
    "empty": "has no IDX files: expected",
}


@pytest.mark.parametrize("name", BAD)
def test_nothing_is_guessed(name: str, data: Path) -> None:
    check_name(name)
    with pytest.raises(DataError, match=f"{data / name}: {BAD[name]}"):
        load(name, seed=0)


def test_an_unknown_name_is_told_those_that_are_known(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = f"a folder's name in $HPCPGD_DATA ({data}: both, digits.v2, empty, iris)"
    with pytest.raises(UsageError, match=re.escape(there) + ".*; did you mean 'iris'[?]"):
        check_name("irsi")
    for value, seen in ((str(data / "no"), f"({data / 'no'}: which"), (None, "(not set: which")):
        monkeypatch.delenv("HPCPGD_DATA")
        if value:
            monkeypatch.setenv("HPCPGD_DATA", value)
        with pytest.raises(UsageError, match=re.escape(f"{seen} has none)")):
            check_name("iris")


def test_commands_take_the_name_and_leave_its_file_alone(data: Path) -> None:
    info = inside(data, console.main, "data", "info", "iris")
    assert (info.code, info.out.split()[:2]) == (0, ["dataset", "iris"])
    config = resolve({}, {"dataset": "iris", "output": str(data / "iris" / "2024.csv")})
    with pytest.raises(OutputError, match="is a file that is read"):
        open_run(config, files_of(config, datetime.now(UTC), "run"), [])
