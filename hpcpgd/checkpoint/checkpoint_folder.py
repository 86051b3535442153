"""The folder of checkpoints: their names, the newest undamaged one, which ones are kept."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hpcpgd.checkpoint.codec import decode, encode
from hpcpgd.checkpoint.seal import content, seal
from hpcpgd.checkpoint.state import State
from hpcpgd.data.guard import ensure_fits, file_size, refuse_bad_file
from hpcpgd.environment.fault_points import fault_point
from hpcpgd.errors import DataError, OutputError
from hpcpgd.results.atomic import write_atomically
from hpcpgd.results.locks import warn

KEPT = 3
TICK = 1_000_000  # ns between the dates of two files, so that their order is known
PATTERN = "*-step-*.ckpt.h5"


@dataclass(frozen=True)
class Folder:
    """The folder of a run's checkpoints, which is made when the first is written."""

    path: Path

    def newest_first(self) -> list[Path]:
        """Return the checkpoints of all runs in the folder, the last written first.

        Raises
        ------
        DataError
            If the folder cannot be read.
        """
        with refuse_bad_file(self.path):
            if not self.path.exists():
                return []
            dated = [(_written(file), file.name) for file in self.path.glob(PATTERN)]
        return [self.path / name for _, name in sorted(dated, reverse=True)]

    def save(self, state: State) -> Path:
        """Write a checkpoint completely or not at all, and remove those that are not needed.

        Raises
        ------
        OutputError
            If it cannot be written; all earlier checkpoints are intact.
        """
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"--checkpoint-dir {self.path}: {error.strerror}") from None
        path = self.path / f"{state.run}-step-{state.steps:012d}.ckpt.h5"
        body = encode(state)
        with ThreadPoolExecutor(1) as pool:  # hashed while it is written
            content_hash = pool.submit(hashlib.sha256, body)
            fault_point("checkpoint file")
            write_atomically(path, body, lambda: seal(len(body), content_hash.result()))
        with suppress(DataError):  # in a folder that cannot be listed, files that stay do no harm
            self._date_and_prune(path, state.run)
        return path

    def _date_and_prune(self, path: Path, run: str) -> None:
        """Date a file after all others, even if clocks were wrong; remove old files of its run."""
        others = [file for file in self.newest_first() if file != path]
        with suppress(OSError):  # a date that cannot be read or set stays that of the clock
            last = max((_written(file) for file in others[:1]), default=0)
            if last >= _written(path):
                os.utime(path, ns=(last + TICK, last + TICK))
        of_run = [file for file in others if file.name.startswith(f"{run}-")]
        for old in of_run[KEPT - 1 :]:
            with suppress(OSError):
                old.unlink()

    def drop(self, run: str) -> None:
        """Remove the checkpoints of a run whose file has been replaced."""
        with suppress(DataError, OSError):  # files that stay do no harm
            for file in self.newest_first():
                if file.name.startswith(f"{run}-step-"):
                    file.unlink()

    def newest(self) -> tuple[Path, State] | None:
        """Return the newest undamaged checkpoint, None if the folder has no checkpoint.

        Raises
        ------
        DataError
            If all are damaged.
        """
        files = self.newest_first()
        for number, file in enumerate(files):
            try:
                state = load(file)
            except DataError as error:
                warn(f"{error}: trying an older one")
            else:
                _warn_of_more_steps(state.run, files[number:])
                return file, state
        if files:
            raise DataError(
                f"{self.path}: none of its {len(files)} checkpoints is whole: "
                "to start over, give --resume never --overwrite"
            )
        return None


def _written(file: Path) -> int:
    """Return when a file was written, in ns; for a broken link, when the link was made."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return file.lstat().st_mtime_ns


def _warn_of_more_steps(run: str, files: list[Path]) -> None:
    """Warn if an older file has more steps, which happens after copying files by hand.

    The first of ``files`` was written last.  A file that was renamed shows no steps.
    """
    newest, of_run = files[0], [file for file in files if file.name.startswith(f"{run}-step-")]
    last = max(of_run, key=lambda file: file.name, default=newest)
    if newest in of_run and last != newest:
        warn(f"{newest} was written last, but {last.name} has more steps: --resume takes it")


def load(path: Path) -> State:
    """Read a checkpoint.

    Raises
    ------
    DataError
        If it is missing, damaged or no checkpoint.
    """
    ensure_fits(2 * file_size(path), path)
    with refuse_bad_file(path):
        data = path.read_bytes()
    try:
        state = decode(content(data))
    except DataError as error:
        raise DataError(f"checkpoint {path}: {error}") from None
    fault_point("loading")
    return state
