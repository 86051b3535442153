"""Compiled functions on disk, shared by any number of jobs, ranks, nodes and processors.

One file holds one compiled signature.  Its name has a hash of everything that the machine
code depends on, so a file is never out of date.  It is written under a temporary name and
linked to its final name when it is complete.  If several processes compile the same signature,
the first one's file stays and the others discard theirs.  Files are never changed, emptied or
locked, so processes cannot disturb each other, not even on NFS.

A file whose checksum is wrong is left where it is; its replacement takes the next number.
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
    """Return the checksum of an entry, which includes the name: a renamed file is refused."""
    return hashlib.sha256(name.encode() + b"\0" + payload).digest()


def unsealed(path: Path) -> bytes | None:
    """Return the content of a file after its checksum; None if the checksum is wrong."""
    content = path.read_bytes()
    name = path.name.removesuffix(SUFFIX).rpartition(".")[0]
    payload = content[DIGEST:]
    return payload if _checksum(name, payload) == content[:DIGEST] else None


@dataclass
class KernelDisk:
    """Folders of compiled functions, and what this process has seen there.

    Attributes
    ----------
    read : sequence of Path
        Folders that are searched, in order.
    write : Path or None
        Folder for the functions that this process compiles; None to write none.
    compiled : int
        Functions that this process has compiled because no folder had them.
    damaged : list of Path
        Files with a wrong checksum, whose functions this process had to compile.
    unkept : str
        Why compiled functions are not kept for other jobs; "" if they are.
    """

    read: Sequence[Path] = ()
    write: Path | None = None
    compiled: int = 0
    damaged: list[Path] = field(default_factory=list)
    unkept: str = ""
    _announce: Callable[[], object] | None = None

    @contextmanager
    def announcing(self, announce: Callable[[], object]) -> Iterator[None]:
        """In the body, call ``announce`` before the first function that must be compiled."""
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
                except OSError:  # missing or not readable: it must be compiled either way
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
        """Write an entry for other processes; on an error ``unkept`` says why there is none.

        An entry that another process has written first stays.
        """
        if self.write is None:
            return
        # Not ``tempfile``: only the owner can read its files, but users may share a cache.
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
    """Give a complete file its final name, with a number after those of damaged files."""
    for number in count():
        path = folder / f"{name}.{number}{SUFFIX}"
        try:
            os.link(temporary, path)
        except FileExistsError:
            if unsealed(path) is not None:
                return
        except PermissionError:  # a file system without hard links
            if not path.exists():
                temporary.rename(path)  # may replace an equal file that another has just written
                return
            if unsealed(path) is not None:
                return
        else:
            return


DISK = KernelDisk()  # one for the process, as each function is compiled once in it
