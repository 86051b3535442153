"""Memory that becomes unreadable at the moment when it is freed, to find out who still reads it.

With ``$HPCPGD_DEBUG_MEMORY`` set to anything but nothing, an access to freed memory ends the
process with SIGSEGV every time.  Without it the address soon belongs to something else, and the
access is seen only now and then.  No address is used twice, so this is for tests alone.
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
_mmap.restype = ctypes.c_void_p  # else addresses are cut to 32 bits
_mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def zero_bytes(nbytes: int) -> npt.NDArray[np.uint8]:
    """Return zeros; with the switch, on pages that nobody can read after their end."""
    return np.asarray(_Pages(nbytes)) if ON else np.zeros(nbytes, np.uint8)


def forbid(address: int, nbytes: int) -> None:
    """With the switch, let nobody read memory that has just been unmapped.

    Raises
    ------
    OSError
        If something else lies there: the memory was not unmapped, or another thread was faster.
    """
    if not ON:
        return
    begin = address // mmap.PAGESIZE * mmap.PAGESIZE
    # Without MAP_FIXED the address is a wish: what lies there already is left alone, on Linux and
    # macOS alike, and these pages are put elsewhere.
    found = _map(begin, address + nbytes - begin, _NO_ACCESS)
    if found != begin:
        raise OSError(f"{NAME}: something else lies where memory was freed, at {address:#x}")


class _Pages:
    """Pages of their own; NumPy keeps this object for as long as an array looks at them."""

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
    """Map pages of nobody else at ``address``, if that is free, and return where they are."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    found: int = _mmap(address, nbytes, protection, flags, -1, 0)
    if found == _FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    return found
