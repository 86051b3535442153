"""cuBLAS through ctypes: CuPy refuses to call it while a graph is recorded."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

WORKSPACE_BYTES = 32 * 2**20  # cuBLAS's default on Hopper, given as a graph cannot allocate

# CUBLAS_OP_N and _T; cudaDataType and cublasComputeType_t of each precision.
_NORMAL, _TRANSPOSED = 0, 1
_DEFAULT_ALGORITHM = -1
_TYPES = {"float32": (0, 68), "tf32": (0, 77), "float64": (1, 70)}


@dataclass(frozen=True)
class Product:
    """``c = a b + beta c`` for row-major matrices in the memory of a GPU.

    Attributes
    ----------
    transposed : tuple of bool
        Whether ``a`` and ``b`` are stored transposed.
    shape : tuple of int
        Rows of c, columns of c, length of the sums.
    a, b, c : int
        Addresses; each matrix is contiguous.
    precision : str
        ``float32``, ``tf32`` (float32 numbers whose products keep 10 bits of mantissa and
        are summed in float32) or ``float64``.
    """

    transposed: tuple[bool, bool]
    shape: tuple[int, int, int]
    a: int
    b: int
    c: int
    beta: float
    precision: str


class CublasError(RuntimeError):
    """A call of cuBLAS failed: a defect of this package or of the installation."""


def _open(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise CublasError(f"cuBLAS cannot be loaded: {error}") from None


class Cublas:
    """A cuBLAS handle for one stream.

    Parameters
    ----------
    library : str or object
        The library's name, or an object with its functions.
    stream : int
        Address of a ``cudaStream_t``.
    workspace : Buffer
        Scratch memory of the products, which run one after the other.

    Raises
    ------
    CublasError
        If the library cannot be loaded or a call fails.
    """

    def __init__(self, library: Any, stream: int, workspace: Any) -> None:
        self._library = _open(library) if isinstance(library, str) else library
        self._workspace = workspace  # keeps the memory allocated
        self._handle = ctypes.c_void_p()
        call, address = self._call, ctypes.c_void_p
        call("cublasCreate_v2", ctypes.byref(self._handle))
        # In this order, as setting the stream resets the workspace.
        call("cublasSetStream_v2", self._handle, address(stream))
        call(
            "cublasSetWorkspace_v2",
            self._handle,
            address(workspace.address),
            ctypes.c_size_t(workspace.nbytes),
        )

    def gemm(self, product: Product) -> None:
        """Put a product in the stream.

        cuBLAS expects column-major matrices, and a row-major matrix is the transpose of a
        column-major one.  So cuBLAS computes c^T = b^T a^T.
        """
        rows, columns, depth = product.shape
        kind, compute = _TYPES[product.precision]
        real = ctypes.c_double if product.precision == "float64" else ctypes.c_float
        first, second = product.transposed
        numbers = (_TRANSPOSED if second else _NORMAL, _TRANSPOSED if first else _NORMAL)
        number, address = ctypes.c_int, ctypes.c_void_p
        self._call(
            "cublasGemmEx",
            self._handle,
            *map(number, (*numbers, columns, rows, depth)),
            ctypes.byref(real(1.0)),
            *(address(product.b), number(kind), number(depth if second else columns)),
            *(address(product.a), number(kind), number(rows if first else depth)),
            ctypes.byref(real(product.beta)),
            *(address(product.c), number(kind), number(columns)),
            number(compute),
            number(_DEFAULT_ALGORITHM),
        )

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise CublasError(f"{name} returned status {status}")


def product(
    transposed: tuple[bool, bool],
    shape: tuple[int, int, int],
    operands: tuple[np.uint64, np.uint64, np.uint64],
    beta: float,
    precision: str,
) -> Product:
    """Return the product of the matrices at three addresses."""
    a, b, c = map(int, operands)
    return Product(transposed, shape, a, b, c, beta, precision)
