"""What rank 0 does with files before a run: leavings, locks, the checkpoint to go on from."""

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
    replaced : str
        The complete run whose files this one replaces, "" if there is none.
    locks : dict
        By the folder that each keeps.
    """

    files: RunFiles
    state: State | None = None
    path: Path | None = None
    replaced: str = ""
    locks: dict[str, FolderLock] = field(default_factory=dict)

    def claim(self, config: RunConfig, patience: float = DEAD_NODE_SECONDS) -> None:
        """Lock the folders of ``files``, and no others; remove what killed writers have left.

        Raises
        ------
        OutputError
            If another job has one of them.
        """
        wanted = {os.path.realpath(f): (f, option) for f, option in _claims(config, self.files)}
        for place in [*self.locks]:
            if place not in wanted:
                self.locks.pop(place).release()
        for place, (folder, option) in wanted.items():
            if place not in self.locks:
                lock = FolderLock(folder, option)
                # Before the others, who wait for this, think that this rank hangs.
                lock.take(min(patience, config.hang_limits()["loading"] / 2))
                self.locks[place] = lock
                sweep(folder)
        sweep(Path(os.path.realpath(self.files.run_file)).parent)

    def close(self) -> None:
        """Let other jobs have the files."""
        for lock in self.locks.values():
            lock.release()


def open_run(config: RunConfig, files: RunFiles, argv: Sequence[str]) -> Opened:
    """Claim the files of a run and find its newest checkpoint.

    Parameters
    ----------
    config : RunConfig
    files : RunFiles
    argv : sequence of str
        The command line: in a batch job that is started again, an earlier start of the same
        one, whose files had a default name, is gone on with.

    Raises
    ------
    DataError
        If no checkpoint is whole, or the one that is named is not.
    OutputError
        If the output cannot be written, or another job writes it.
    """
    check_writable(files.run_file, True, path_of(config.dataset))
    opened = Opened(files)
    again = batch_system.started_before() if config.resume == "auto" else ""
    try:
        if not again or not _claim_earlier(config, opened, argv):
            opened.claim(config)
        _look(config, opened)
    except BaseException:
        opened.close()
        raise
    if again and opened.state is None:
        reason = _nothing_to_go_on_from(config, opened.files)
        warn(f"{again}: this job has been started before, but {reason}: it begins with step 1")
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


def _by_default(config: RunConfig) -> bool:
    return (config.output, config.checkpoint_dir) == ("auto", "auto")


def _claim_earlier(config: RunConfig, opened: Opened, argv: Sequence[str]) -> bool:
    """Claim the files of an earlier start of this job, if it left some; say whether it did.

    Several runs of one job may have had the same command: each takes files that no other has.
    """
    if not _by_default(config):
        return False
    own = opened.files
    left = [files for files in earlier_files(config) if _can_go_on(files, argv)]
    left = [files for files in left if files.checkpoints.newest_first()]
    # The first may be dying yet: it is waited for where there are no others.
    for files, patience in [*((f, 0.0) for f in left), *((f, DEAD_NODE_SECONDS) for f in left[:1])]:
        opened.files = files
        try:
            opened.claim(config, patience)
        except OutputError:
            continue
        if _can_go_on(files, argv):  # still, after the wait
            return True
    opened.files = own
    return False


def _can_go_on(files: RunFiles, argv: Sequence[str]) -> bool:
    on_disk = run_on_disk(files.run_file)
    return on_disk is not None and on_disk.can_go_on(argv)


def _nothing_to_go_on_from(config: RunConfig, files: RunFiles) -> str:
    if config.checkpoint_every == "never":
        return "--checkpoint-every never leaves nothing to go on from"
    if _by_default(config):
        return "it left no unfinished run of this command, with a checkpoint, in this folder"
    return f"{files.checkpoints.path} holds no checkpoint"


def _look(config: RunConfig, opened: Opened) -> None:
    """Find the checkpoint; the run file must be new, or that of the same run."""
    checkpoint = resume.find(config, opened.files.checkpoints)
    if checkpoint is not None and _begins_anew(config, opened.files.run_file, checkpoint[1].run):
        opened.replaced, checkpoint = checkpoint[1].run, None
    if checkpoint is not None:
        opened.path, opened.state = checkpoint
        before = Path(opened.state.run_file)
        # Of an earlier start of this job we have the files already, wherever the folder is now.
        named = (config.checkpoint_dir, config.resume) != ("auto", "auto")
        # Path.is_dir raises where this user may not look, or the name is too long.
        if config.output == "auto" and named and os.path.isdir(before.parent):  # noqa: PTH112
            opened.files = with_run_file(config, before)
            opened.claim(config)
    _check_run_file(config, opened)


def _begins_anew(config: RunConfig, run_file: Path, run: str) -> bool:
    """Return whether ``--overwrite`` replaces a complete ``run``; one that is not goes on."""
    if not config.overwrite or config.resume != "auto":
        return False
    on_disk = run_on_disk(run_file)
    return on_disk is not None and (on_disk.run, on_disk.status) == (run, "complete")


def _check_run_file(config: RunConfig, opened: Opened) -> None:
    """Refuse to replace the file of another run, or of one that has nothing left to do.

    Raises
    ------
    OutputError
        It says what goes on with the run, before it names what replaces it.
    """
    path, state, on_disk = opened.files.run_file, opened.state, run_on_disk(opened.files.run_file)
    mine = state is not None and on_disk is not None and on_disk.run == state.run
    if on_disk is not None and not config.overwrite:
        lengths = (on_disk.config.get("epochs"), on_disk.config.get("max_steps"))
        ended = on_disk.status == "complete" and lengths == (config.epochs, config.max_steps)
        if mine and ended:
            raise OutputError(
                f"--output {path}: this run is complete: to go on with it, give more --epochs; "
                "to begin another, give another name (--overwrite replaces this one)"
            )
        if state is None and config.resume == "auto":
            raise OutputError(
                f"--output {path}: is the file of a run without a checkpoint in "
                f"{opened.files.checkpoints.path}: give another name (--overwrite replaces it)"
            )
    check_writable(path, config.overwrite or mine, path_of(config.dataset))
