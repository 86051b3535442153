"""The folder of checkpoints: names, the newest that is whole, which ones are kept."""

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
TICK = 1_000_000  # ns between the dates of files whose order must show
PATTERN = "*-step-*.ckpt.h5"


@dataclass(frozen=True)
class Folder:
    """Where a run's checkpoints are; made when the first is written.

    Attributes
    ----------
    path : Path
    """

    path: Path

    def newest_first(self) -> list[Path]:
        """Return the checkpoints of all runs, the last written first.

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
        """Write a checkpoint, whole or not at all, and drop those that are not needed.

        Raises
        ------
        OutputError
            If it cannot be written; all that were there are intact.
        """
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"--checkpoint-dir {self.path}: {error.strerror}") from None
        path = self.path / f"{state.run}-step-{state.steps:012d}.ckpt.h5"
        body = encode(state)
        with ThreadPoolExecutor(1) as pool:  # hashed while it is written
            found = pool.submit(hashlib.sha256, body)
            fault_point("checkpoint file")
            write_atomically(path, body, lambda: seal(len(body), found.result()))
        with suppress(DataError):  # a folder that cannot be listed; more files do no harm
            self._settle(path, state.run)
        return path

    def _settle(self, path: Path, run: str) -> None:
        """Date a file after all others, which a wrong clock may have dated; drop old ones."""
        others = [file for file in self.newest_first() if file != path]
        with suppress(OSError):  # one whose date cannot be read or set is as the clock has it
            last = max((_written(file) for file in others[:1]), default=0)
            if last >= _written(path):
                os.utime(path, ns=(last + TICK, last + TICK))
        own = [file for file in others if file.name.startswith(f"{run}-")]
        for old in own[KEPT - 1 :]:
            with suppress(OSError):
                old.unlink()

    def drop(self, run: str) -> None:
        """Remove the checkpoints of a run whose file has been replaced."""
        with suppress(DataError, OSError):  # those that stay do no harm
            for file in self.newest_first():
                if file.name.startswith(f"{run}-step-"):
                    file.unlink()

    def newest(self) -> tuple[Path, State] | None:
        """Return the newest checkpoint that is whole, None if there is none at all.

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
                _tell_of_more(state.run, files[number:])
                return file, state
        if files:
            raise DataError(
                f"{self.path}: none of its {len(files)} checkpoints is whole: "
                "to begin anew, --resume never --overwrite"
            )
        return None


def _written(file: Path) -> int:
    """Return when a file was written, in ns; of a link that leads nowhere, when it was made."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return file.lstat().st_mtime_ns


def _tell_of_more(run: str, files: list[Path]) -> None:
    """Say where copying, or going back by hand, has left more steps in a file written before.

    The first of ``files`` was written last; one whose name was changed tells no steps.
    """
    newest, own = files[0], [file for file in files if file.name.startswith(f"{run}-step-")]
    last = max(own, key=lambda file: file.name, default=newest)
    if newest in own and last != newest:
        warn(f"{newest} was written last, but {last.name} has more steps: --resume takes it")


def load(path: Path) -> State:
    """Read a checkpoint.

    Raises
    ------
    DataError
        If it is missing, damaged or something else.
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
