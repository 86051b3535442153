"""The device that the plans and the engine see, on the CPU.

Work put in the stream runs as late as a GPU may run it: when the host synchronises.  While a
graph is recorded, the work is kept for it.  Arrays have margins that must stay as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.device import cuda_source
from hpcpgd.kernels.device.cublas import WORKSPACE_BYTES, Cublas, Product
from hpcpgd.kernels.device.cupy_device import Buffer
from tests.emulation.build import Library, build
from tests.emulation.cublas import EmulatedLibrary

MARGIN = 4096  # bytes on either side of an array
FILL = 0xFF  # NaN, so that what is read from there shows
WIDTHS = {"int": "int32", "long long": "int64", "float": "float32", "double": "float64"}


class Memory:
    """Bytes between margins."""

    def __init__(self, nbytes: int) -> None:
        self.bytes = np.full(nbytes + 2 * MARGIN + 64, FILL, np.uint8)
        self.begin = MARGIN + -(self.bytes.ctypes.data + MARGIN) % 64
        self.nbytes = nbytes
        self.inside[:] = 0

    @property
    def inside(self) -> Array:
        return self.bytes[self.begin : self.begin + self.nbytes]

    def intact(self) -> bool:
        before, after = self.bytes[: self.begin], self.bytes[self.begin + self.nbytes :]
        return bool((before == FILL).all() and (after == FILL).all())


class EmulatedModule:
    def __init__(self, device: EmulatedDevice, library: Library, real: str) -> None:
        self.device, self.built, self.real = device, library, real

    def launch(self, name: str, blocks: int, threads: int, *arguments: np.generic) -> None:
        """Check the arguments against the kernel's own parameters, then run it."""
        types = self.built.parameters[name]
        assert len(arguments) == len(types), f"{name}: {len(arguments)} arguments, not {types}"
        for argument, kind in zip(arguments, types, strict=True):
            expected = "uint64" if kind.endswith("*") else WIDTHS.get(kind, self.real)
            assert argument.dtype == expected, f"{name}: {argument.dtype} for {kind}"
        assert blocks > 0
        assert 0 < threads <= 1024
        self.device.do(lambda: self._run(name, blocks, threads, arguments))

    def _run(self, name: str, blocks: int, threads: int, arguments: Any) -> None:
        cells = [np.array([argument]) for argument in arguments]
        pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
        function = getattr(self.built.handle, f"launch_{name}")
        function.restype = ctypes.c_char_p
        error = function(
            pointers, ctypes.c_uint(blocks), ctypes.c_uint(threads), ctypes.c_int(self.device.order)
        )
        self.device.launches.append(name)
        self.device.collect(self.built)
        assert error == b"", f"{name}: {error.decode()}"
        self.device.check_margins()


class EmulatedDevice:
    """See ``kernels/device/cupy_device.py``.

    Parameters
    ----------
    order : int
        Of threads and blocks: 0 as numbered, 1 backwards, else shuffled by this seed.
    watched : bool
        Look at every access to shared memory.
    edit : callable
        Changes a source before it is compiled, to see that a defect is found.
    """

    name = "emulated"
    bus_id = identity = "0000:00:00.0"
    generation = 90
    versions = "emulation"

    def __init__(
        self,
        order: int = 0,
        watched: bool = False,
        multiprocessors: int = 4,
        edit: Callable[[str], str] = str,
    ) -> None:
        self.order, self.watched, self.edit = order, watched, edit
        self.multiprocessors = multiprocessors
        self.memories: list[Memory] = []
        self.launches: list[str] = []
        self.graphs = 0
        self.conflicts = self.warp_accesses = 0
        self._stream: list[Callable[[], None]] = []
        self._recording: list[Callable[[], None]] | None = None
        self.cublas = EmulatedLibrary(self)
        self.blas = Cublas(self.cublas, 77, self.buffer(WORKSPACE_BYTES, np.uint8))

    def do(self, work: Callable[[], None]) -> None:
        """Put work in the stream."""
        (self._stream if self._recording is None else self._recording).append(work)

    def buffer(self, size: int, dtype: npt.DTypeLike) -> Buffer:
        assert self._recording is None, "a graph may not allocate"
        kind = np.dtype(dtype)
        memory = Memory(max(size, 1) * kind.itemsize)
        self.memories.append(memory)
        return Buffer(memory.inside.ctypes.data, size, kind, memory)

    def pinned(self, size: int, dtype: npt.DTypeLike) -> Array:
        return np.zeros(size, dtype)

    def view(self, buffer: Buffer) -> Array:
        """Return what the memory holds now, with work still pending."""
        begin = buffer.address - buffer.owner.inside.ctypes.data
        return np.asarray(buffer.owner.inside[begin : begin + buffer.nbytes].view(buffer.dtype))

    def clear(self, buffer: Buffer) -> None:
        self.do(lambda: self.view(buffer).fill(0))

    def write(self, buffer: Buffer, array: Array) -> None:
        assert self._recording is None, "a graph would read memory that has gone"
        kept = array.reshape(-1).copy()
        self.do(lambda: np.copyto(self.view(buffer)[: kept.size], kept))

    def read(self, buffer: Buffer, size: int) -> Array:
        self.wait()
        return self.view(buffer)[:size].copy()

    def copy_out(self, buffer: Buffer, pinned: Array) -> None:
        self.do(lambda: np.copyto(pinned, self.view(buffer)))

    def copy_in(self, pinned: Array, buffer: Buffer) -> None:
        self.do(lambda: np.copyto(self.view(buffer), pinned))

    def module(self, source: str, **definitions: object) -> EmulatedModule:
        text = self.edit(cuda_source.read(source))
        pairs = tuple((name, str(value)) for name, value in definitions.items())
        library = build(text, self.watched, pairs)
        real = "float64" if definitions["REAL"] == "double" else "float32"
        return EmulatedModule(self, library, real)

    def gemm(self, product: Product) -> None:
        self.blas.gemm(product)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        recorded: list[Callable[[], None]] = []
        self._recording = recorded
        work()
        self._recording = None
        assert recorded

        def replay() -> None:
            self.graphs += 1
            self._stream += recorded

        return replay

    def synchronize(self) -> None:
        self.wait()

    def wait(self) -> None:
        """Run all pending work."""
        assert self._recording is None, "a graph cannot wait"
        pending, self._stream = self._stream, []
        for work in pending:
            work()

    def mark(self) -> Any:
        assert self._recording is None, "a mark within a graph is never reached"
        mark: list[bool] = []
        self.do(lambda: mark.append(True))
        return mark

    def reached(self, mark: Any) -> bool:
        """Run one pending piece of work at each call."""
        if self._stream and not mark:
            self._stream.pop(0)()
        return bool(mark)

    def free_bytes(self) -> int:
        return 4 * 2**30

    def exposed(self, buffer: Buffer) -> Any:
        return self.view(buffer)

    def collect(self, library: Library) -> None:
        numbers = (ctypes.c_longlong * 3)()
        library.handle.take_report(numbers)
        self.warp_accesses += numbers[0]
        self.conflicts += numbers[1]

    def check_margins(self) -> None:
        assert all(memory.intact() for memory in self.memories), "written beyond an array"
