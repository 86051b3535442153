"""What rank 0 does with files before a run: leavings, locks, the checkpoint to go on from."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.checkpoint import resume
from hpcpgd.checkpoint.state import State
from hpcpgd.config import RunConfig
from hpcpgd.group import SHARED_MEMORY
from hpcpgd.results.atomic import check_writable
from hpcpgd.results.files import RunFiles, with_run_file
from hpcpgd.results.locks import FolderLock, sweep
from hpcpgd.results.runfile import same_unfinished_run

SEGMENTS = "mpich_shm_*"  # what MPICH leaves when a job is killed while it starts
AGE = 30.0  # seconds after which a segment that nobody maps is nobody's


@dataclass
class Opened:
    """The files of a run that are this job's.

    Attributes
    ----------
    files : RunFiles
    state : State or None
        The checkpoint to go on from.
    lock : FolderLock or None
    """

    files: RunFiles
    state: State | None
    lock: FolderLock | None

    def close(self) -> None:
        """Let other jobs have the files."""
        if self.lock is not None:
            self.lock.release()


def open_run(config: RunConfig, files: RunFiles, say: Callable[[str], None]) -> Opened:
    """Claim the files of a run and find its newest checkpoint.

    Raises
    ------
    DataError
        If no checkpoint is whole, or the one that is named is not.
    OutputError
        If the output cannot be written, or another job writes it.
    """
    check_writable(files.run_file, True, Path(config.dataset))
    opened = Opened(files, None, None)
    if config.checkpoint_every != "never":
        own = config.checkpoint_dir == "auto"
        option = f"output {files.run_file}" if own else f"checkpoint-dir {config.checkpoint_dir}"
        opened.lock = FolderLock(files.checkpoints.path, f"--{option}")
        opened.lock.take()
        sweep(files.checkpoints.path)
    sweep(files.run_file.resolve().parent)
    try:
        _look(config, opened, say)
    except BaseException:
        opened.close()
        raise
    return opened


def _look(config: RunConfig, opened: Opened, say: Callable[[str], None]) -> None:
    """Find the checkpoint; the run file must be new, or that of the same run."""
    found = resume.find(config, opened.files.checkpoints)
    mine = False
    if found is not None:
        path, state = found
        opened.state = state
        say(f"going on from {path}: {state.steps} steps are made")
        if config.output == "auto" and Path(state.run_file).parent.is_dir():
            opened.files = with_run_file(config, Path(state.run_file))
        mine = same_unfinished_run(opened.files.run_file, state.run, config)
    check_writable(opened.files.run_file, config.overwrite or mine, Path(config.dataset))


def sweep_shared_memory(folder: Path = SHARED_MEMORY) -> None:
    """Remove shared memory that this user's killed jobs have left on this node."""
    now = time.time()
    with suppress(OSError):
        old = {
            path for path in folder.glob(SEGMENTS)
            if (there := path.stat()).st_uid == os.getuid() and now - there.st_mtime > AGE
        }  # fmt: skip
        for path in old - _mapped(folder) if old else ():
            path.unlink()


def _mapped(folder: Path) -> set[Path]:
    """Return the files of ``folder`` that a process of this user maps."""
    return {
        Path(words[5])
        for process in Path("/proc").glob("[0-9]*")
        for line in _lines(process / "maps")
        if len(words := line.split(maxsplit=5)) == 6 and words[5].startswith(f"{folder}/")
    }


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:  # gone, or another user's
        return []
