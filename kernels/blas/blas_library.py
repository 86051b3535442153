"""Find a BLAS library and call it from compiled code.

Compiled loops call ``cblas_{s,d}{gemm,gemv,ger}`` by the address of the function, so that no
Python runs between the products of a step, which releases the GIL.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hpcpgd.kernels.blas import mkl
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array

ROUTINES = ("gemm", "gemv", "ger")
# (prefix, suffix, whether integers have 64 bits), in the order in which they are tried.
SPELLINGS = (("scipy_", "64_", True), ("", "64_", True), ("scipy_", "", False), ("", "", False))
ACCELERATE = "/System/Library/Frameworks/Accelerate.framework/Accelerate"

_ROW_MAJOR = np.int32(101)
_NO_TRANS, _TRANS = np.int32(111), np.int32(112)


class Routines(NamedTuple):
    """Addresses of the routines for one dtype, for compiled code.

    ``integer`` is a zero of the library's integer type (int32 or int64).
    """

    gemm: int
    gemv: int
    ger: int
    integer: Any


@dataclass(frozen=True)
class Blas:
    """A loaded BLAS library.

    Attributes
    ----------
    path : str
        The library's file.
    handle : ctypes.CDLL
        The open library.
    prefix, suffix : str
        What the library's symbols have before and after names such as ``cblas_sgemm``.
    wide : bool
        Whether its integers have 64 bits.
    mkl : str
        The mode of oneMKL, which then has one thread a call; "" for other libraries.
    """

    path: str
    handle: Any
    prefix: str
    suffix: str
    wide: bool
    mkl: str = ""

    def routines(self, dtype: str) -> Routines:
        """Return the addresses of ``gemm``, ``gemv`` and ``ger`` for ``dtype``."""
        letter = "s" if dtype == "float32" else "d"
        gemm, gemv, ger = (self._address(letter + routine) for routine in ROUTINES)
        return Routines(gemm, gemv, ger, np.int64(0) if self.wide else np.int32(0))

    def _address(self, routine: str) -> int:
        symbol = f"{self.prefix}cblas_{routine}{self.suffix}"
        function = getattr(self.handle, symbol)
        return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def _spelling(handle: Any) -> tuple[str, str, bool] | None:
    for prefix, suffix, wide in SPELLINGS:
        if all(hasattr(handle, f"{prefix}cblas_{t}{r}{suffix}") for t in "sd" for r in ROUTINES):
            return prefix, suffix, wide
    return None


def open_library(path: str) -> Blas:
    """Load the BLAS in the shared library ``path``.

    Raises
    ------
    OSError
        If the file cannot be loaded or exports no CBLAS.
    """
    handle = ctypes.CDLL(path)
    spelling = _spelling(handle)
    if spelling is None:
        raise OSError(f"{path} exports no cblas_sgemm under any known spelling")
    symbol = getattr(handle, f"{spelling[0]}cblas_sgemm{spelling[1]}")
    return Blas(_file_of(symbol) or path, handle, *spelling)


class _SymbolInfo(ctypes.Structure):
    """The result of ``dladdr`` for an address (``Dl_info`` in C)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _file_of(function: Any) -> str:
    """Return the file that holds ``function``: a handle also finds symbols of linked libraries."""
    info = _SymbolInfo()
    dladdr = ctypes.CDLL(None).dladdr
    dladdr.argtypes = (ctypes.c_void_p, ctypes.POINTER(_SymbolInfo))
    status = dladdr(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(info))
    return os.fsdecode(info.file) if status and info.file else ""


def _candidates() -> list[str]:
    """Return libraries that this process has loaded or can load, best first."""
    # A handle of NumPy's extension module also finds the symbols of the libraries it links to.
    paths = [str(np._core._multiarray_umath.__file__)]  # type: ignore[attr-defined]  # numpy does not export it
    if sys.platform == "darwin":
        paths.append(ACCELERATE)
    for folder in sys.path:
        package = Path(folder) / "scipy_openblas32" / "lib"
        paths.extend(str(p) for p in sorted(package.glob("libscipy_openblas*.*")))
    return paths


def find(preference: str | None = None) -> Blas | None:
    """Return the BLAS to use: ``preference`` if given, else the first one that can be loaded.

    Parameters
    ----------
    preference : str, optional
        Path of a shared library, or ``mkl`` for that of oneMKL's wheel.

    Returns
    -------
    Blas or None
        None if no library with usable symbols is found.

    Raises
    ------
    OSError
        If ``preference`` cannot be loaded or exports no CBLAS, or is not installed.
    """
    if preference:
        path = mkl.installed() if preference == mkl.NAME else preference
        if not path:
            raise OSError("its wheel is not installed here: pip install 'hpcpgd[mkl]'")
        library = open_library(path)
        is_mkl = hasattr(library.handle, "MKL_Set_Threading_Layer")
        return replace(library, mkl=mkl.prepare(library.handle)) if is_mkl else library
    for path in _candidates():
        try:
            return open_library(path)
        except OSError:
            continue
    return None


@intrinsic
def call(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the void C function at ``address`` with the items of a tuple as arguments."""
    signature = types.void(address, arguments)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        items = cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(ir.VoidType(), [item.type for item in items])
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, items)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _as(typingctx: Any, like: Any, value: Any) -> Any:
    """Cast ``value`` to the type of ``like``."""
    signature = like(like, value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.cast(builder, args[1], value, like)

    return signature, codegen


@compiled()
def _leading(integer: Any, matrix: Array) -> Any:
    # A matrix without rows may have strides of 0, but BLAS checks the leading dimension.
    return _as(integer, max(matrix.strides[0] // matrix.itemsize, matrix.shape[1], 1))


@compiled()
def gemm(
    blas: Routines,
    transposed: tuple[bool, bool],
    scales: tuple[Any, Any],
    a: Array,
    b: Array,
    c: Array,
) -> None:
    """Compute ``c = alpha op(a) op(b) + beta c`` (level 3).

    ``transposed`` says for a and for b whether ``op`` transposes; ``scales`` are alpha and beta.
    All are matrices with contiguous rows and may be blocks of columns; ``c`` is (M, N).
    """
    i = blas.integer
    inner = a.shape[0] if transposed[0] else a.shape[1]
    call(
        blas.gemm,
        (
            _ROW_MAJOR,
            _TRANS if transposed[0] else _NO_TRANS,
            _TRANS if transposed[1] else _NO_TRANS,
            _as(i, c.shape[0]),
            _as(i, c.shape[1]),
            _as(i, inner),
            a.dtype.type(scales[0]),
            a.ctypes.data,
            _leading(i, a),
            b.ctypes.data,
            _leading(i, b),
            a.dtype.type(scales[1]),
            c.ctypes.data,
            _leading(i, c),
        ),
    )


@compiled()
def gemv(blas: Routines, transposed: bool, a: Array, x: Array, beta: Any, y: Array) -> None:
    """Compute ``y = op(a) x + beta y`` (level 2); ``op`` transposes a (M, N) if ``transposed``."""
    i = blas.integer
    call(
        blas.gemv,
        (
            _ROW_MAJOR,
            _TRANS if transposed else _NO_TRANS,
            _as(i, a.shape[0]),
            _as(i, a.shape[1]),
            a.dtype.type(1),
            a.ctypes.data,
            _leading(i, a),
            x.ctypes.data,
            _as(i, 1),
            a.dtype.type(beta),
            y.ctypes.data,
            _as(i, 1),
        ),
    )


@compiled()
def ger(blas: Routines, x: Array, y: Array, a: Array) -> None:
    """Add the outer product: ``a += x yᵀ`` (level 2); x (M,), y (N,), a (M, N)."""
    i = blas.integer
    call(
        blas.ger,
        (
            _ROW_MAJOR,
            _as(i, a.shape[0]),
            _as(i, a.shape[1]),
            a.dtype.type(1),
            x.ctypes.data,
            _as(i, 1),
            y.ctypes.data,
            _as(i, 1),
            a.ctypes.data,
            _leading(i, a),
        ),
    )
