"""HDF5 files with texts of variable length, opened only if libhdf5 can read these to the end.

Such texts are in global heaps (HDF5 file format, III.E): a header of 16 bytes, then objects one
after the other, each with its length.  libhdf5 steps from object to object by these lengths.
If damage has made a length 0, libhdf5 stays at the same object forever.
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
_HEADER = 16  # bytes of a heap's header, and of an object's
_OBJECT = struct.Struct("<HHIQ")  # index, references, reserved, length


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file to read it.

    Raises
    ------
    DataError
        If the file is missing, damaged or larger than the free memory; also in place of an
        exception of h5py in the body.
    """
    ensure_fits(file_size(path), path)
    with refuse_bad_file(path):
        require_sound_heaps(path.read_bytes(), path)
        with h5py.File(path, "r") as file:
            yield file


def require_sound_heaps(data: bytes | mmap.mmap, path: Path) -> None:
    """Refuse a heap with an object of length 0 or one that ends beyond the heap.

    Raises
    ------
    DataError
        At the first such object; the message names its offset in bytes.
    """
    begin = data.find(_BEGIN)
    while begin >= 0:
        size = int.from_bytes(data[begin + 8 : begin + _HEADER], "little")
        offset, end = begin + _HEADER, min(begin + size, len(data))
        while offset + _HEADER <= end:
            index, _, _, length = _OBJECT.unpack_from(data, offset)
            # The length of free space, index 0, includes its header; texts are padded to 8 bytes.
            whole = length if index == 0 else _HEADER + -(-length // 8) * 8
            if not _HEADER <= whole <= end - offset:
                raise DataError(f"{path}: is damaged at byte {offset}, in a heap of texts")
            offset += whole
        begin = data.find(_BEGIN, begin + 1)
