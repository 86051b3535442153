"""What rank 0 does with files before a run: leavings, locks, the checkpoint to go on from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.checkpoint import resume
from hpcpgd.checkpoint.state import State
from hpcpgd.config import RunConfig
from hpcpgd.results.atomic import check_writable
from hpcpgd.results.files import RunFiles, with_run_file
from hpcpgd.results.locks import FolderLock, sweep
from hpcpgd.results.runfile import same_unfinished_run


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
