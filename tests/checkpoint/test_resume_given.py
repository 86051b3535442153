"""What users give to ``--resume``: each gets the right message, and the right files are locked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcpgd.checkpoint.checkpoint_folder import Folder, load
from hpcpgd.checkpoint.resume import find
from hpcpgd.checkpoint.run_files import files_of
from hpcpgd.checkpoint.seal import is_sealed
from hpcpgd.config.resolve import resolve
from hpcpgd.errors import DataError, OutputError
from hpcpgd.results.locks import FolderLock
from hpcpgd.train.claim_files import open_run
from tests.helpers.support import TRAIN, python


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with two checkpoints."""
    folder = tmp_path_factory.mktemp("made")
    words = ("--max-steps", "12", "--checkpoint-every", "5", "--quiet", "--output", "r.h5")
    python(*TRAIN, *words, cwd=folder).good()
    return folder


@pytest.fixture
def begun(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def _study(folder: Path) -> Path:
    with h5py.File(folder / "study.h5", "w") as file:
        file.attrs["schema"] = "hpcpgd.study/1"
    return folder / "study.h5"


def _dataset(folder: Path) -> Path:
    with h5py.File(folder / "data.h5", "w") as file:
        file["x_train"] = np.zeros((2, 3))
    return folder / "data.h5"


def _text(folder: Path) -> Path:
    (folder / "run.toml").write_text("[train]\n")
    return folder / "run.toml"


def _cut(folder: Path) -> Path:
    newest = Folder(folder / "r.checkpoints").newest_first()[0]
    newest.write_bytes(newest.read_bytes()[:-9])
    return newest


def _damaged_newest(folder: Path) -> Path:
    _cut(folder)
    return folder / "r.checkpoints"


def _complete(folder: Path) -> Path:
    with h5py.File(folder / "r.h5", "r+") as file:
        file.attrs["status"] = "complete"
    return folder / "r.h5"


def _alone(folder: Path) -> Path:
    for path in (folder / "r.checkpoints").iterdir():
        path.unlink()
    return folder / "r.h5"


def _running(folder: Path) -> Path:
    with h5py.File(folder / "r.h5", "r+") as file:
        file.attrs["status"] = "running"
    return folder / "r.h5"


NEWEST = "expected auto, never, or a checkpoint's file: give {}/r.checkpoints/{}"
# What else users give to --resume, and the message; {} is the folder, then the newest checkpoint.
GIVEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a run file": (_running, f"is a run file; {NEWEST}"),
    "a complete run": (_complete, f"is a run file; {NEWEST}, with more --epochs: the run is co"),
    "a run file alone": (_alone, "is a run file; expected auto, never, or a checkpoint's file; "
                                 "none of its run is in {}/r.checkpoints"),
    "the folder": (lambda folder: folder / "r.checkpoints", f"is a folder; {NEWEST}"),
    "a folder whose newest is damaged": (_damaged_newest, f"is a folder; {NEWEST}"),
    "a checkpoint that was dropped": (lambda folder: folder / "r.checkpoints" / "old.ckpt.h5",
                                      f"no such file; {NEWEST}"),
    "a name without its end": (lambda folder: folder / "r", f"no such file; {NEWEST}"),
    "a study file": (_study, f"is a study file; {NEWEST}"),
    "a dataset": (_dataset, f"is a dataset; {NEWEST}"),
    "a text": (_text, f"is no HDF5 file; {NEWEST}"),
    "a checkpoint that is cut off": (_cut, "is cut off, or no checkpoint: its seal is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_what_is_no_checkpoint_is_named_and_the_right_one_too(name: str, begun: Path) -> None:
    prepare, text = GIVEN[name]
    path, folder = prepare(begun), Folder(begun / "r.checkpoints")
    whole = [file for file in folder.newest_first() if is_sealed(file)]
    with pytest.raises(DataError) as caught:
        find(resolve({}, {"resume": str(path)}), folder)
    assert text.format(begun, whole[0].name if whole else "") in str(caught.value)


def test_files_that_a_checkpoint_names_are_locked_as_those_that_are_given(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs that continue from one checkpoint without --output would write one run file."""
    monkeypatch.chdir(begun)
    newest = Folder(begun / "r.checkpoints").newest_first()[0]
    state = load(newest)
    state.run_file = str(begun / "r.h5")
    path = Folder(begun).save(state)
    first = FolderLock(begun / "r.checkpoints", "--output r.h5")
    first.take()
    try:
        config = resolve({}, {"resume": str(path), "hang_limit": "0.1s"})  # of which 0.3 s remain
        with pytest.raises(OutputError, match=r"another job .* writes there"):
            open_run(config, files_of(config, datetime.now(UTC), "0a1b2c3d"), ())
    finally:
        first.release()
