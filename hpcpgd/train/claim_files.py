"""What rank 0 does with files before a run: lock folders, clean up, find the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpcpgd.checkpoint import resume
from hpcpgd.checkpoint.run_files import RunFiles, beside, earlier_files, with_run_file
from hpcpgd.checkpoint.state import State
from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import path_of
from hpcpgd.environment import batch_system
from hpcpgd.errors import OutputError
from hpcpgd.results.atomic import check_writable
from hpcpgd.results.locks import DEAD_NODE_SECONDS, FolderLock, sweep, warn
from hpcpgd.results.runfile import run_on_disk

LENGTHS = ("epochs", "max_steps", "patience", "target_accuracy")  # with others a run can go on


@dataclass
class Opened:
    """The files of a run, and the locks by which this job holds them.

    Attributes
    ----------
    state : State or None
        The checkpoint from which the run continues; None for a new run.
    path : Path or None
        The file of that checkpoint.
    replaced : str
        The complete run whose files this run replaces, "" if there is none.
    locks : dict of str to FolderLock
        The lock of each folder, by the folder's real path.
    """

    files: RunFiles
    state: State | None = None
    path: Path | None = None
    replaced: str = ""
    locks: dict[str, FolderLock] = field(default_factory=dict)

    def claim(self, config: RunConfig, patience: float = DEAD_NODE_SECONDS) -> None:
        """Lock the folders of ``files`` and only these; remove files that killed writers left.

        Raises
        ------
        OutputError
            If another job holds one of them after ``patience`` seconds.
        """
        wanted = {os.path.realpath(f): (f, option) for f, option in _claims(config, self.files)}
        for place in [*self.locks]:
            if place not in wanted:
                self.locks.pop(place).release()
        for place, (folder, option) in wanted.items():
            if place not in self.locks:
                lock = FolderLock(folder, option)
                # The other ranks wait for this one: give up before they report a hang.
                lock.take(min(patience, config.hang_limits()["loading"] / 2))
                self.locks[place] = lock
                sweep(folder)
        sweep(Path(os.path.realpath(self.files.run_file)).parent)

    def close(self) -> None:
        """Release all locks."""
        for lock in self.locks.values():
            lock.release()


def open_run(config: RunConfig, files: RunFiles, argv: Sequence[str]) -> Opened:
    """Claim the files of a run and find its newest checkpoint.

    Parameters
    ----------
    argv : sequence of str
        The command line.  A batch job that is started again continues the run of its earlier
        start with the same command line, if the names of its files are default names.

    Raises
    ------
    DataError
        If all checkpoints are damaged, or the one that ``--resume`` names is.
    OutputError
        If the output cannot be written, or another job writes it.
    """
    check_writable(files.run_file, True, path_of(config.dataset))
    if config.initial_weights != "none":
        check_writable(files.run_file, True, Path(config.initial_weights))
    opened = Opened(files)
    again = batch_system.started_before() if config.resume == "auto" else ""
    try:
        if not again or not _claim_earlier(config, opened, argv):
            opened.claim(config)
        _find_checkpoint(config, opened)
    except BaseException:
        opened.close()
        raise
    if again and opened.state is None:
        reason = _nothing_to_go_on_from(config, opened.files)
        warn(f"{again}: this job has been started before, but {reason}: it begins with step 1")
    return opened


def _claims(config: RunConfig, files: RunFiles) -> list[tuple[Path, str]]:
    """Return the folders that this job locks, each with the option that names it.

    A run file is replaced when it is written, which would lose a lock on it.  The folder beside
    it, the default folder of checkpoints, is locked instead.  A run without checkpoints makes
    no folder, which would stay if the run was killed, but locks one that exists.
    """
    default, checkpoints = beside(files.run_file), files.checkpoints.path
    keeps = config.checkpoint_every != "never"
    claims = [(default, f"--output {files.run_file}")] if keeps or default.is_dir() else []
    if keeps and os.path.realpath(checkpoints) != os.path.realpath(default):
        claims.append((checkpoints, f"--checkpoint-dir {config.checkpoint_dir}"))
    return claims


def _by_default(config: RunConfig) -> bool:
    return (config.output, config.checkpoint_dir) == ("auto", "auto")


def _claim_earlier(config: RunConfig, opened: Opened, argv: Sequence[str]) -> bool:
    """Claim the files of an earlier start of this job; return whether there were any.

    Several runs of a job may have the same command: each claims files that no other holds.
    """
    if not _by_default(config):
        return False
    new_files = opened.files
    left = [files for files in earlier_files(config) if _can_go_on(files, argv)]
    left = [files for files in left if files.checkpoints.newest_first()]
    # If all are held, wait for the first: the process that holds it may be about to end.
    for files, patience in [*((f, 0.0) for f in left), *((f, DEAD_NODE_SECONDS) for f in left[:1])]:
        opened.files = files
        try:
            opened.claim(config, patience)
        except OutputError:
            continue
        if _can_go_on(files, argv):  # its status may have changed during the wait
            return True
    opened.files = new_files
    return False


def _can_go_on(files: RunFiles, argv: Sequence[str]) -> bool:
    on_disk = run_on_disk(files.run_file)
    return on_disk is not None and on_disk.can_go_on(argv)


def _nothing_to_go_on_from(config: RunConfig, files: RunFiles) -> str:
    if config.checkpoint_every == "never":
        return "--checkpoint-every never left no checkpoint"
    if _by_default(config):
        return "it left no unfinished run of this command, with a checkpoint, in this folder"
    return f"{files.checkpoints.path} holds no checkpoint"


def _find_checkpoint(config: RunConfig, opened: Opened) -> None:
    """Set ``state`` and ``path`` of ``opened``; refuse to replace the file of another run."""
    checkpoint = resume.find(config, opened.files.checkpoints)
    if checkpoint is not None and _begins_anew(config, opened.files.run_file, checkpoint[1].run):
        opened.replaced, checkpoint = checkpoint[1].run, None
    if checkpoint is not None:
        opened.path, opened.state = checkpoint
        before = Path(opened.state.run_file)
        # Where neither is named, the files are claimed, even if their folder has been moved.
        named = (config.checkpoint_dir, config.resume) != ("auto", "auto")
        # Path.is_dir raises without permission, or if the name is too long.
        if config.output == "auto" and named and os.path.isdir(before.parent):  # noqa: PTH112
            opened.files = with_run_file(config, before)
            opened.claim(config)
    _check_run_file(config, opened)


def _begins_anew(config: RunConfig, run_file: Path, run: str) -> bool:
    """Return whether ``--overwrite`` replaces ``run``: if it is complete; else it continues."""
    if not config.overwrite or config.resume != "auto":
        return False
    on_disk = run_on_disk(run_file)
    return on_disk is not None and (on_disk.run, on_disk.status) == (run, "complete")


def _check_run_file(config: RunConfig, opened: Opened) -> None:
    """Refuse to replace the file of another run, or of a run with no steps left.

    Raises
    ------
    OutputError
        With the option that continues the run before the option that replaces it.
    """
    path, state, on_disk = opened.files.run_file, opened.state, run_on_disk(opened.files.run_file)
    same_run = state is not None and on_disk is not None and on_disk.run == state.run
    if on_disk is not None and not config.overwrite:
        then, now = RunConfig().options() | on_disk.config, config.options()
        ended = on_disk.status == "complete" and all(then[name] == now[name] for name in LENGTHS)
        if same_run and ended:
            raise OutputError(
                f"--output {path}: this run is complete: to go on with it, give more --epochs; "
                "to begin another, give another name (--overwrite replaces this one)"
            )
        if state is None and config.resume == "auto":
            raise OutputError(
                f"--output {path}: is the file of a run without a checkpoint in "
                f"{opened.files.checkpoints.path}: give another name (--overwrite replaces it)"
            )
    check_writable(path, config.overwrite or same_run, path_of(config.dataset))
