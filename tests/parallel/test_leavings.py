"""Files of killed jobs are removed, files in use are not; one job at a time writes a run."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpcpgd.checkpoint.checkpoint_folder import Folder
from hpcpgd.errors import OutputError
from hpcpgd.parallel import shm_files
from hpcpgd.results import locks
from hpcpgd.results.locks import FolderLock, open_temporary, sweep
from tests.helpers.support import environment, python, started, wait_until

SMALL = ("-m", "hpcpgd.train", "--threads", "1", "--epochs", "2", "--quiet", "--output", "r.h5")
HOLDS = """
import sys, time
from pathlib import Path
from hpcpgd.results import locks
if sys.argv[1] == "file":
    held = locks.open_temporary(Path(sys.argv[2]))
else:
    held = locks.FolderLock(Path(sys.argv[2]), "--output r.h5")
    held.take()
print("held", flush=True)
time.sleep(600)
"""


def holder(what: str, folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds a lock, and wait until it does."""
    command = [sys.executable, "-c", HOLDS, what, str(folder)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_sweep_takes_the_files_of_dead_writers_alone(tmp_path: Path) -> None:
    dead, alive = holder("file", tmp_path), holder("file", tmp_path)
    path, file = open_temporary(tmp_path)
    (tmp_path / "mine.tmp").touch()
    try:
        assert len(list(tmp_path.iterdir())) == 4
        kill(dead)
        sweep(tmp_path)
        assert len(list(tmp_path.iterdir())) == 3
        assert path.exists()
        file.close()
    finally:
        kill(alive)
    sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.tmp"]


def test_a_second_job_is_refused_and_a_dead_one_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "r.checkpoints"
    first = holder("folder", folder)
    monkeypatch.setattr(locks, "LOOK", 0.1)
    lock = FolderLock(folder, "--output r.h5")
    try:
        expected = rf"another job \(host \S+, process {first.pid}\) writes there"
        with pytest.raises(OutputError, match=expected):
            lock.take(0.2)
        assert capsys.readouterr().err.count("waiting up to") == 1
    finally:
        kill(first)
    lock.take()
    assert str(os.getpid()) in (folder / ".hpcpgd.lock").read_text()
    lock.release()
    assert not folder.exists()


def test_a_lock_is_no_link_and_no_pipe(tmp_path: Path) -> None:
    """To open them would empty another user's file, or wait for a writer."""
    folder, precious = tmp_path / "r.checkpoints", tmp_path / "precious"
    precious.write_text("precious")
    folder.mkdir()
    path = folder / ".hpcpgd.lock"
    for make in (lambda: path.symlink_to(precious), lambda: os.mkfifo(path)):
        make()
        with pytest.raises(OutputError, match=r"--output r\.h5: no folder can be"):
            FolderLock(folder, "--output r.h5").take()
        path.unlink()
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("other", [(), ("--checkpoint-every", "never"), ("--checkpoint-dir", "c")])
def test_a_run_waits_for_the_one_before_it(other: tuple[str, ...], tmp_path: Path) -> None:
    """Wherever their checkpoints are, the two jobs would write the same run file."""
    first = holder("folder", tmp_path / "r.checkpoints")
    with started([sys.executable, *SMALL, *other], tmp_path) as second:
        assert second.stderr is not None
        assert "waiting up to 120 s for its end" in second.stderr.readline()
        assert not (tmp_path / "r.h5").exists()
        kill(first)
        assert second.communicate(timeout=60)[1] == ""
    assert second.returncode == 0
    assert not [*tmp_path.rglob(".hpcpgd*")]
    kept = {(): "r.checkpoints", ("--checkpoint-dir", "c"): "c"}.get(other)
    assert {entry.name for entry in tmp_path.iterdir()} == {"r.h5", kept} - {None}


def test_a_run_without_checkpoints_makes_no_folder(tmp_path: Path) -> None:
    """Which would stay where it is killed: a study's runs are."""
    words = (*SMALL, "--epochs", "1000000", "--checkpoint-every", "never")
    with started([sys.executable, *words], tmp_path):
        wait_until((tmp_path / "r.h5").exists, 60)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_dir()] == []


def test_one_folder_by_two_names_is_locked_once(tmp_path: Path) -> None:
    python(*SMALL, "--checkpoint-dir", str(tmp_path / "r.checkpoints"), cwd=tmp_path).good()


def test_a_run_clears_what_killed_writers_left(tmp_path: Path) -> None:
    checkpoints = Folder(tmp_path / "r.checkpoints")
    checkpoints.path.mkdir()
    for folder in (tmp_path, checkpoints.path):
        kill(holder("file", folder))
        assert len(list(folder.glob(".hpcpgd-*.tmp"))) == 1
    assert python(*SMALL, cwd=tmp_path).code == 0
    assert not [*tmp_path.rglob(".hpcpgd*")]


def test_shared_memory_that_nobody_maps_is_removed(tmp_path: Path) -> None:
    old = time.time() - 2 * shm_files.AGE
    for name in ("mpich_shm_old", "mpich_shm_mapped", "mpich_shm_new", "other_old"):
        (tmp_path / name).write_bytes(bytes(mmap.PAGESIZE))
        if not name.endswith("new"):
            os.utime(tmp_path / name, (old, old))
    with (tmp_path / "mpich_shm_mapped").open("rb+") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    shm_files.sweep(tmp_path)
    left = sorted(entry.name for entry in tmp_path.iterdir())
    assert left == ["mpich_shm_mapped", "mpich_shm_new", "other_old"]
    mapped.close()
