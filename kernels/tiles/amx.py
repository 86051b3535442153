"""The tile instructions of processors with AMX, and whether this process may use them.

A tile is 1 KB: 16 rows of 16 words, each a float32 or a pair of bfloat16 numbers.  A *block*
is two tiles.  Of the eight tiles, 0 to 3 are the sums of a square of 32 x 32 numbers, 4 and 5
one block of the left factor (rows 0 to 15, and 16 to 31), 6 and 7 one block of the right factor
(columns 0 to 15, and 16 to 31).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

TILE = 1024  # bytes
BLOCK = 2 * TILE
SIDE = 32  # rows and columns of a square of sums, and numbers along K in a block

_ROW_BYTES = 64
# The operand of ``ldtilecfg``: palette 1, then the bytes of a row and the rows of eight tiles.
_CONFIGURATION = struct.pack("<B15x8H16x8B8x", 1, *[_ROW_BYTES] * 8, *[16] * 8)
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA = 158, 0x1023, 18

_BYTE, _LONG = ir.IntType(8), ir.IntType(64)


@cache
def refusal() -> str:
    """Return why this process cannot multiply with tiles, "" if it can.

    Linux gives a process the tiles' registers at its first request, unless a filter of system
    calls forbids this.
    """
    features = binding.get_host_cpu_features()
    # The last one rounds numbers; processors with AMX have it, but virtual machines may hide it.
    if not all(map(features.get, ("amx-tile", "amx-bf16", "avx512bf16"))):
        return "this processor has no AMX with bfloat16"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XTILEDATA):
        name = errno.errorcode.get(ctypes.get_errno(), "")
        return f"Linux refuses AMX to this process ({name}: {os.strerror(ctypes.get_errno())})"
    return ""


def emitting(emit: Callable[..., None], *arguments: Any) -> Any:
    """Return what an intrinsic without a result returns; ``emit`` takes builder and arguments."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        emit(builder, *args)
        return context.get_dummy_value()

    return types.void(*arguments), codegen


def place_at(builder: Any, address: Any, distance: int, kind: Any = _BYTE) -> Any:
    """Return a pointer of LLVM's type ``kind`` to what is ``distance`` bytes from an address."""
    return builder.inttoptr(builder.add(address, ir.Constant(_LONG, distance)), kind.as_pointer())


def _call(builder: Any, name: str, *arguments: Any) -> None:
    """Emit an instruction; integers stand for tiles."""
    values = [ir.Constant(_BYTE, a) if isinstance(a, int) else a for a in arguments]
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}")
    builder.call(function, values)


def _configure(builder: Any) -> None:
    value = ir.Constant(ir.ArrayType(_BYTE, len(_CONFIGURATION)), bytearray(_CONFIGURATION))
    place = cgutils.global_constant(builder, "tile_configuration", value)
    _call(builder, "ldtilecfg", builder.bitcast(place, _BYTE.as_pointer()))


def _clear_sums(builder: Any) -> None:
    for tile in range(4):
        _call(builder, "tilezero", tile)


def _load_block(name: str, first: int, builder: Any, address: Any) -> None:
    stride = ir.Constant(_LONG, _ROW_BYTES)
    for half in range(2):
        place = place_at(builder, address, half * TILE)
        _call(builder, name, first + half, place, stride)


def _add_product(builder: Any) -> None:
    for sums, a, b in ((0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7)):
        _call(builder, "tdpbf16ps", sums, a, b)


def _move_sums(name: str, builder: Any, address: Any) -> None:
    stride = 2 * _ROW_BYTES
    for tile, distance in enumerate((0, _ROW_BYTES, 16 * stride, 16 * stride + _ROW_BYTES)):
        place = place_at(builder, address, distance)
        _call(builder, name, tile, place, ir.Constant(_LONG, stride))


@intrinsic
def configure(typingctx: Any) -> Any:
    """Give all tiles of this thread their shape; ends with ``release``."""
    return emitting(_configure)


@intrinsic
def release(typingctx: Any) -> Any:
    """Leave the tiles to other libraries, which have their own shapes."""
    return emitting(lambda builder: _call(builder, "tilerelease"))


@intrinsic
def clear_sums(typingctx: Any) -> Any:
    """Set the sums to zero."""
    return emitting(_clear_sums)


@intrinsic
def load_left(typingctx: Any, address: Any) -> Any:
    """Load a block of the left factor."""
    return emitting(partial(_load_block, "tileloadd64", 4), types.int64)


@intrinsic
def load_right(typingctx: Any, address: Any) -> Any:
    """Load a block of the right factor, with the hint that it need not stay in the L1 cache."""
    return emitting(partial(_load_block, "tileloaddt164", 6), types.int64)


@intrinsic
def add_product(typingctx: Any) -> Any:
    """Add to the sums the product of the blocks that are loaded."""
    return emitting(_add_product)


@intrinsic
def store_sums(typingctx: Any, address: Any) -> Any:
    """Store the sums as a matrix (32, 32) of float32."""
    return emitting(partial(_move_sums, "tilestored64"), types.int64)


@intrinsic
def load_sums(typingctx: Any, address: Any) -> Any:
    """Load sums that ``store_sums`` has stored, all bits of them."""
    return emitting(partial(_move_sums, "tileloadd64"), types.int64)
