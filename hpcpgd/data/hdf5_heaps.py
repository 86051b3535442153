"""HDF5 files whose texts have variable lengths, opened only if libhdf5 will come back from them.

Such texts lie in global heaps (HDF5 file format, III.E): a header of 16 bytes, then objects one
after the other, each with its length.  libhdf5 walks from object to object, and where damage
has left one of no length it goes on at the same place for ever.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from hpcpgd.data.guard import ensure_fits, file_size, refuse_bad_file
from hpcpgd.errors import DataError

_BEGIN = b"GCOL\x01\0\0\0"  # signature, version, reserved
_HEADER = 16  # bytes, of a heap as of an object
_OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, length


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file to read it.

    Raises
    ------
    DataError
        If it is missing, damaged or larger than the memory; also for what h5py raises in
        the body.
    """
    ensure_fits(file_size(path), path)
    with refuse_bad_file(path):
        require_sound_heaps(path.read_bytes(), path)
        with h5py.File(path, "r") as file:
            yield file


def require_sound_heaps(data: bytes | mmap.mmap, path: Path) -> None:
    """Refuse a heap with an object that has no length, or that goes beyond its end.

    Raises
    ------
    DataError
    """
    begin = data.find(_BEGIN)
    while begin >= 0:
        size = int.from_bytes(data[begin + 8 : begin + _HEADER], "little")
        here, end = begin + _HEADER, min(begin + size, len(data))
        while here + _HEADER <= end:
            index, _, _, length = _OBJECT.unpack_from(data, here)
            # Free space, which has index 0, counts its header; texts are padded to 8 bytes.
            whole = length if index == 0 else _HEADER + -(-length // 8) * 8
            if not _HEADER <= whole <= end - here:
                raise DataError(f"{path}: is damaged at byte {here}, in a heap of texts")
            here += whole
        begin = data.find(_BEGIN, begin + 1)
