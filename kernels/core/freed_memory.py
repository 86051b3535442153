"""Memory that becomes unreadable when it is freed, to find code that still reads it.

If ``$HPCPGD_DEBUG_MEMORY`` is set and not empty, every access to freed memory ends the process
with SIGSEGV.  Otherwise the address is soon used for something else, and the error shows only
now and then.  No address is used twice, so this is for tests only.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt

NAME = "HPCPGD_DEBUG_MEMORY"
ON = bool(os.environ.get(NAME))

_NO_ACCESS = 0  # PROT_NONE, which Python's mmap module lacks; the same on Linux and macOS
_FAILED = ctypes.c_void_p(-1).value
_libc = ctypes.CDLL(None, use_errno=True)
_mmap, _mprotect = _libc.mmap, _libc.mprotect
_mmap.restype = ctypes.c_void_p  # the default, int, would cut addresses to 32 bits
_mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def zero_bytes(nbytes: int) -> npt.NDArray[np.uint8]:
    """Return zeros, uint8 (nbytes,); if `ON`, on pages that are unreadable once freed."""
    return np.asarray(_Pages(nbytes)) if ON else np.zeros(nbytes, np.uint8)


def forbid(address: int, nbytes: int) -> None:
    """If `ON`, make memory unreadable that has just been unmapped.

    Raises
    ------
    OSError
        If the place is in use: the memory was not unmapped, or another thread was faster.
    """
    if not ON:
        return
    begin = address // mmap.PAGESIZE * mmap.PAGESIZE
    # Without MAP_FIXED the address is a hint: if it is in use, Linux and macOS leave that mapping
    # alone and map these pages elsewhere.
    if _map(begin, address + nbytes - begin, _NO_ACCESS) != begin:
        raise OSError(f"{NAME}: the place of freed memory, {address:#x}, is in use again")


class _Pages:
    """Pages for one array; NumPy keeps this object as long as an array uses them."""

    def __init__(self, nbytes: int) -> None:
        self._address = _map(None, nbytes, mmap.PROT_READ | mmap.PROT_WRITE)
        self._nbytes = nbytes
        self.__array_interface__: dict[str, Any] = {
            "version": 3, "typestr": "|u1", "shape": (nbytes,), "data": (self._address, False),
        }  # fmt: skip

    def __del__(self) -> None:
        if _mprotect(self._address, self._nbytes, _NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")


def _map(address: int | None, nbytes: int, protection: int) -> int:
    """Map private pages, at ``address`` if that is free, and return their address."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mapped: int = _mmap(address, nbytes, protection, flags, -1, 0)
    if mapped == _FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    return mapped
