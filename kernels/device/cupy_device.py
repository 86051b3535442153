"""The interface of plans to a GPU: CuPy for memory, kernels and graphs, cuBLAS for products.

All work is put in one stream and runs in that order.  Only ``read``, ``synchronize`` and
``record`` wait for the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.device import cuda_source
from hpcpgd.kernels.device.cublas import WORKSPACE_BYTES, Cublas, Product

C_TYPES = {"float32": "float", "float64": "double", "uint8": "unsigned char"}
NULL = np.uint64(0)


@dataclass(frozen=True)
class Buffer:
    """An array in the memory of a GPU.

    Attributes
    ----------
    size : int
        Number of elements.
    dtype : dtype
    owner : object
        The object that keeps the memory allocated.
    """

    address: int
    size: int
    dtype: np.dtype[Any]
    owner: Any

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return self.size * self.dtype.itemsize

    def at(self, offset: int = 0) -> np.uint64:
        """Return the address of an element, as an argument of kernels."""
        return np.uint64(self.address + offset * self.dtype.itemsize)

    def part(self, begin: int, end: int) -> Buffer:
        """Return elements ``begin … end - 1`` as a buffer that shares this one's memory."""
        return Buffer(int(self.at(begin)), end - begin, self.dtype, self.owner)


class Module(Protocol):
    """The kernels of one compiled source."""

    def launch(self, name: str, blocks: int, threads: int, *arguments: np.generic) -> None:
        """Put a kernel in the stream, with ``blocks`` blocks of ``threads`` threads each."""


class Device(Protocol):
    """What a plan requires of a GPU; ``CudaDevice`` documents the methods."""

    name: str
    bus_id: str
    identity: str
    versions: str
    generation: int
    multiprocessors: int

    # Documented where they are implemented, in CudaDevice below: hence D102.
    def buffer(self, size: int, dtype: npt.DTypeLike) -> Buffer: ...  # noqa: D102
    def pinned(self, size: int, dtype: npt.DTypeLike) -> Array: ...  # noqa: D102
    def clear(self, buffer: Buffer) -> None: ...  # noqa: D102
    def write(self, buffer: Buffer, array: Array) -> None: ...  # noqa: D102
    def read(self, buffer: Buffer, size: int) -> Array: ...  # noqa: D102
    def copy_out(self, buffer: Buffer, pinned: Array) -> None: ...  # noqa: D102
    def copy_in(self, pinned: Array, buffer: Buffer) -> None: ...  # noqa: D102
    def module(self, source: str, **definitions: object) -> Module: ...  # noqa: D102
    def gemm(self, product: Product) -> None: ...  # noqa: D102
    def record(self, work: Callable[[], None]) -> Callable[[], None]: ...  # noqa: D102
    def synchronize(self) -> None: ...  # noqa: D102
    def mark(self) -> Any: ...  # noqa: D102
    def reached(self, mark: Any) -> bool: ...  # noqa: D102
    def free_bytes(self) -> int: ...  # noqa: D102
    def exposed(self, buffer: Buffer) -> Any: ...  # noqa: D102


class CudaModule:
    """Kernels that CuPy compiles with NVRTC, or loads from its cache."""

    def __init__(self, module: Any, stream: Any) -> None:
        self._module = module
        self._stream = stream
        self._kernels: dict[str, Any] = {}

    def launch(self, name: str, blocks: int, threads: int, *arguments: np.generic) -> None:
        """Put a kernel in the stream, with ``blocks`` blocks of ``threads`` threads each."""
        if name not in self._kernels:
            self._kernels[name] = self._module.get_function(name)
        with self._stream:
            self._kernels[name]((blocks,), (threads,), arguments)


class CudaDevice:
    """One GPU and one stream on it.

    Parameters
    ----------
    index : int
        The GPU's number among those that this process can see.
    """

    def __init__(self, index: int) -> None:
        import cupy

        self._cupy = cupy
        self._device = cupy.cuda.Device(index)
        self._device.use()
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._blas: Cublas | None = None
        properties = cupy.cuda.runtime.getDeviceProperties(index)
        self.name: str = properties["name"].decode()
        self.multiprocessors: int = properties["multiProcessorCount"]
        self.bus_id: str = self._device.pci_bus_id
        # Slices of a GPU (MIG) have the same bus ID, but different UUIDs.
        self.identity: str = bytes(properties.get("uuid", b"")).hex() or self.bus_id
        self.generation = int(self._device.compute_capability)
        versions = (cupy.cuda.runtime.runtimeGetVersion(), cupy.cuda.runtime.driverGetVersion())
        runtime, driver = (f"{v // 1000}.{v % 1000 // 10}" for v in versions)
        self.versions = f"CUDA {runtime}, driver for {driver}, CuPy {cupy.__version__}"

    def buffer(self, size: int, dtype: npt.DTypeLike) -> Buffer:
        """Return ``size`` zeros on the device."""
        with self._stream:
            array = self._cupy.zeros(max(size, 1), dtype)
        return Buffer(array.data.ptr, size, np.dtype(dtype), array)

    def pinned(self, size: int, dtype: npt.DTypeLike) -> Array:
        """Return an array (size,) in pinned host memory, which the device reads and writes."""
        nbytes = size * np.dtype(dtype).itemsize
        memory = self._cupy.cuda.alloc_pinned_memory(nbytes)
        return np.frombuffer(memory, dtype, size)

    def clear(self, buffer: Buffer) -> None:
        """Fill with zero bytes."""
        runtime = self._cupy.cuda.runtime
        runtime.memsetAsync(buffer.address, 0, buffer.nbytes, self._stream.ptr)

    def write(self, buffer: Buffer, array: Array) -> None:
        """Copy a host array to the beginning of ``buffer``; the array may change afterwards."""
        source = np.ascontiguousarray(array, buffer.dtype)
        self._copy(buffer.address, source.ctypes.data, source.nbytes, "HostToDevice")

    def read(self, buffer: Buffer, size: int) -> Array:
        """Return the first ``size`` elements; waits for all earlier work."""
        out = np.empty(size, buffer.dtype)
        self._copy(out.ctypes.data, buffer.address, out.nbytes, "DeviceToHost")
        self.synchronize()
        return out

    def copy_out(self, buffer: Buffer, pinned: Array) -> None:
        """Start a copy to pinned memory; `synchronize` waits for it."""
        self._copy(pinned.ctypes.data, buffer.address, buffer.nbytes, "DeviceToHost")

    def copy_in(self, pinned: Array, buffer: Buffer) -> None:
        """Start a copy from pinned memory, which must not change until the copy is done."""
        self._copy(buffer.address, pinned.ctypes.data, buffer.nbytes, "HostToDevice")

    def module(self, source: str, **definitions: object) -> CudaModule:
        """Compile a CUDA source with ``-D`` definitions."""
        options = tuple(f"-D{name}={value}" for name, value in definitions.items())
        text = cuda_source.read(source)
        module = self._cupy.RawModule(code=text, options=("--std=c++17", *options))
        return CudaModule(module, self._stream)

    def gemm(self, product: Product) -> None:
        """Put a product of cuBLAS in the stream."""
        if self._blas is None:
            self._blas = self._open_blas()
        self._blas.gemm(product)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` puts in the stream as a CUDA graph; return a function to launch it.

        Nothing runs.  All kernels must have run before, as loading one cannot be recorded.
        """
        self.synchronize()
        with self._stream:
            self._stream.begin_capture()
            try:
                work()
            finally:
                graph = self._stream.end_capture()
        graph.upload(self._stream)
        return lambda: graph.launch(self._stream)

    def synchronize(self) -> None:
        """Wait until all work in the stream is done."""
        self._stream.synchronize()

    def mark(self) -> Any:
        """Return a mark in the stream, which is reached when all work up to here is done."""
        event = self._cupy.cuda.Event(disable_timing=True)
        event.record(self._stream)
        return event

    def reached(self, mark: Any) -> bool:
        """Return whether all work before a mark is done; does not wait."""
        return bool(mark.done)

    def free_bytes(self) -> int:
        """Return the free memory of the device in bytes."""
        return int(self._device.mem_info[0])

    def exposed(self, buffer: Buffer) -> Any:
        """Return ``buffer`` as an array that a GPU-aware MPI accepts."""
        begin = (buffer.address - buffer.owner.data.ptr) // buffer.dtype.itemsize
        return buffer.owner[begin : begin + buffer.size]

    def _copy(self, to: int, origin: int, nbytes: int, kind: str) -> None:
        runtime = self._cupy.cuda.runtime
        runtime.memcpyAsync(to, origin, nbytes, getattr(runtime, f"memcpy{kind}"), self._stream.ptr)

    def _open_blas(self) -> Cublas:
        major = self._cupy.cuda.runtime.runtimeGetVersion() // 1000
        _ = self._cupy.cuda.cublas  # CuPy finds and loads the library
        workspace = self.buffer(WORKSPACE_BYTES, np.uint8)
        return Cublas(f"libcublas.so.{major}", self._stream.ptr, workspace)
