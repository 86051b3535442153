"""Compiled functions on disk, shared by any number of jobs, ranks, nodes and processors.

One file holds one compiled signature.  Its name holds a hash of everything that the machine
code depends on, so a file is either right or not there.  A file is written under a
temporary name and linked to its place when it is whole.  Of several processes that compile
the same signature the first one's file stays; the others discard theirs.  Nothing is ever
changed, emptied or locked, so no process can disturb another, on NFS neither.

A file that fails its own checksum is left where it is; its successor takes the next number.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

SUFFIX = ".kernel"
TEMPORARY = ".tmp"
DIGEST = hashlib.sha256().digest_size


def _checksum(name: str, payload: bytes) -> bytes:
    """Return the checksum of an entry, its name included: no other kernel may stand there."""
    return hashlib.sha256(name.encode() + b"\0" + payload).digest()


def unsealed(path: Path) -> bytes | None:
    """Return what a file holds behind its checksum; None if the checksum is wrong."""
    content = path.read_bytes()
    name = path.name.removesuffix(SUFFIX).rpartition(".")[0]
    payload = content[DIGEST:]
    return payload if _checksum(name, payload) == content[:DIGEST] else None


@dataclass
class KernelDisk:
    """Folders of compiled functions, and what this process has met there.

    Attributes
    ----------
    read : sequence of Path
        Folders that are searched, in order.
    write : Path or None
        Folder that receives what this process compiles; None to keep nothing.
    compiled : int
        Functions that this process has compiled, as no folder had them.
    damaged : list of Path
        Files with a wrong checksum for which this process had to compile.
    unkept : str
        Why what this process compiles is not kept for other jobs, "" if it is.
    """

    read: Sequence[Path] = ()
    write: Path | None = None
    compiled: int = 0
    damaged: list[Path] = field(default_factory=list)
    unkept: str = ""
    _announce: Callable[[], object] | None = None

    @contextmanager
    def announcing(self, announce: Callable[[], object]) -> Iterator[None]:
        """Call ``announce`` before the first function that must be compiled, if there is one."""
        self._announce = announce
        try:
            yield
        finally:
            self._announce = None

    def load(self, name: str) -> bytes | None:
        """Return the content of entry ``name``; None if it must be compiled."""
        damaged = []
        for folder in self.read:
            for number in count():
                path = folder / f"{name}.{number}{SUFFIX}"
                try:
                    payload = unsealed(path)
                except OSError:  # not there, or not readable: the same to who needs it
                    break
                if payload is not None:
                    return payload
                damaged.append(path)
        self.compiled += 1
        self.damaged += damaged
        if self._announce is not None:
            announce, self._announce = self._announce, None
            announce()
        return None

    def publish(self, name: str, payload: bytes) -> None:
        """Keep an entry for others, unless one of them was faster; ``unkept`` says why not."""
        if self.write is None:
            return
        # Not ``tempfile``: its files are for their owner alone, a cache may be for all.
        temporary = self.write / f".{name}.{secrets.token_hex(8)}{TEMPORARY}"
        try:
            try:
                with temporary.open("xb") as file:
                    file.write(_checksum(name, payload) + payload)
                _place(temporary, self.write, name)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
        except OSError as error:
            self.unkept = f"{self.write}: {error.strerror}"


def _place(temporary: Path, folder: Path, name: str) -> None:
    """Give a whole file its name, behind the damaged ones of that name."""
    for number in count():
        path = folder / f"{name}.{number}{SUFFIX}"
        try:
            os.link(temporary, path)
        except FileExistsError:
            if unsealed(path) is not None:
                return
        except PermissionError:  # a file system without hard links
            if not path.exists():
                temporary.rename(path)  # may replace what another placed meanwhile: the same
                return
            if unsealed(path) is not None:
                return
        else:
            return


DISK = KernelDisk()  # of this process: compiled functions are, too
