"""What a file for ``--resume`` is if it is no checkpoint, and which file to give instead."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hpcpgd.checkpoint.checkpoint_folder import Folder, load
from hpcpgd.checkpoint.run_files import beside
from hpcpgd.checkpoint.seal import is_sealed
from hpcpgd.data.guard import refuse_bad_file
from hpcpgd.errors import DataError
from hpcpgd.results.identify import CHECKPOINT, RUN, what_is
from hpcpgd.results.runfile import run_on_disk


def problem(path: Path, folder: Path) -> str:
    """Return what is wrong with ``path`` and what to give, "" if it may be a checkpoint.

    ``folder`` has the checkpoints of this run.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    with refuse_bad_file(path):  # a parent folder may be closed to this user
        if path.is_dir():
            return _advice("is a folder", [path, folder])
        if not path.exists():
            return _advice("no such file", [path.parent, beside(path), folder])
        seen = what_is(path) if path.is_file() and not is_sealed(path) else ""
    if seen in ("", CHECKPOINT):  # reading it later shows what is wrong
        return ""
    if seen == RUN:
        return _of_run_file(path)
    return _advice(f"is {seen}", [folder])


def _of_run_file(path: Path) -> str:
    """Return a message with the newest checkpoint of the run that a run file belongs to."""
    on_disk = run_on_disk(path)
    if on_disk is None:
        return _advice("is a damaged run file", [beside(path)])
    named = str(on_disk.config.get("checkpoint_dir", "auto"))
    folders = [beside(path)] if named == "auto" else [Path(named), beside(path)]
    more = ", with more --epochs: the run is complete" if on_disk.status == "complete" else ""
    return _advice("is a run file", folders, f"{on_disk.run}-step-", more)


def _advice(seen: str, folders: Iterable[Path], beginning: str = "", more: str = "") -> str:
    newest = next(filter(None, (_newest(folder, beginning) for folder in folders)), None)
    text = f"{seen}; expected auto, never, or a checkpoint's file"
    if newest is not None:
        return f"{text}: give {newest}{more}"
    return f"{text}; none of its run is in {next(iter(folders))}" if beginning else text


def _newest(folder: Path, beginning: str) -> Path | None:
    """Return the newest undamaged checkpoint whose name starts with ``beginning``."""
    with suppress(DataError):
        for file in Folder(folder).newest_first():
            with suppress(DataError):
                if file.name.startswith(beginning):
                    load(file)
                    return file
    return None
