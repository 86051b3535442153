"""A seal, the length and SHA-256 at the end of a file, shows whether the file is damaged.

A file is checked before any of it is parsed.  HDF5 ignores what follows its end, so that a
sealed HDF5 file opens with h5py and all other tools.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from hpcpgd.errors import DataError

MAGIC = b"hpcpgd checkpoint seal 1"
_FORMAT = struct.Struct("<24sQ32s")  # magic, bytes of the content, SHA-256 of all before it


def seal(length: int, content_hash: hashlib._Hash) -> bytes:
    """Return the seal of ``length`` bytes of content, which ``content_hash`` has hashed."""
    head = MAGIC + struct.pack("<Q", length)
    content_hash.update(head)
    return head + content_hash.digest()


def is_sealed(path: Path) -> bool:
    """Return whether a file ends with a seal, without checking it."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _FORMAT.size, 0))
        return file.read(len(MAGIC)) == MAGIC


def content(data: bytes) -> memoryview:
    """Return the content of a sealed file.

    Raises
    ------
    DataError
        If any of the file was cut off or changed.
    """
    if len(data) < _FORMAT.size:
        raise DataError(f"is cut off: {len(data)} bytes are left of it")
    magic, length, digest = _FORMAT.unpack_from(data, len(data) - _FORMAT.size)
    if magic != MAGIC:
        raise DataError("is cut off, or no checkpoint: its seal is missing")
    body = memoryview(data)[: -_FORMAT.size]
    if length != len(body):
        raise DataError(f"has {len(body)} bytes of content, its seal says {length}")
    signed = memoryview(data)[: -len(digest)]
    if hashlib.sha256(signed).digest() != digest:
        raise DataError("is damaged: its SHA-256 is not that of its seal")
    return body
