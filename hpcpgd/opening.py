"""What rank 0 does with files before a run: leavings, locks, the checkpoint to go on from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from hpcpgd.checkpoint import resume
from hpcpgd.checkpoint.state import State
from hpcpgd.config import RunConfig
from hpcpgd.results.atomic import check_writable
from hpcpgd.results.files import RunFiles, beside, with_run_file
from hpcpgd.results.locks import PATIENCE, FolderLock, sweep
from hpcpgd.results.runfile import same_unfinished_run


@dataclass
class Opened:
    """The files of a run that are this job's.

    Attributes
    ----------
    files : RunFiles
    state : State or None
        The checkpoint to go on from.
    path : Path or None
        Its file.
    locks : list of FolderLock
    """

    files: RunFiles
    state: State | None = None
    path: Path | None = None
    locks: list[FolderLock] = field(default_factory=list)

    def close(self) -> None:
        """Let other jobs have the files."""
        for lock in self.locks:
            lock.release()


def open_run(config: RunConfig, files: RunFiles) -> Opened:
    """Claim the files of a run and find its newest checkpoint.

    Raises
    ------
    DataError
        If no checkpoint is whole, or the one that is named is not.
    OutputError
        If the output cannot be written, or another job writes it.
    """
    check_writable(files.run_file, True, Path(config.dataset))
    opened = Opened(files)
    try:
        for folder, option in _claims(config, files):
            opened.locks.append(FolderLock(folder, option))
            # Before the others, who wait for this, think that this rank hangs.
            opened.locks[-1].take(min(PATIENCE, config.seconds("loading_limit") / 2))
            sweep(folder)
        sweep(Path(os.path.realpath(files.run_file)).parent)
        _look(config, opened)
    except BaseException:
        opened.close()
        raise
    return opened


def _claims(config: RunConfig, files: RunFiles) -> list[tuple[Path, str]]:
    """Return the folders that this job locks, each with the option that names it.

    A run file is replaced as it is written: the folder beside it, in which its checkpoints
    are if nothing else is said, is locked in its place.  A run without checkpoints makes no
    folder, which would stay if it was killed; it respects one that is there.
    """
    near, far = beside(files.run_file), files.checkpoints.path
    keeps = config.checkpoint_every != "never"
    claims = [(near, f"--output {files.run_file}")] if keeps or near.is_dir() else []
    if keeps and os.path.realpath(far) != os.path.realpath(near):
        claims.append((far, f"--checkpoint-dir {config.checkpoint_dir}"))
    return claims


def _look(config: RunConfig, opened: Opened) -> None:
    """Find the checkpoint; the run file must be new, or that of the same run."""
    found = resume.find(config, opened.files.checkpoints)
    mine = False
    if found is not None:
        opened.path, state = found
        opened.state = state
        before = Path(state.run_file)
        # Path.is_dir raises where this user may not look, or the name is too long.
        if config.output == "auto" and os.path.isdir(before.parent):  # noqa: PTH112  (see above)
            opened.files = with_run_file(config, before)
        mine = same_unfinished_run(opened.files.run_file, state.run, config)
    check_writable(opened.files.run_file, config.overwrite or mine, Path(config.dataset))
