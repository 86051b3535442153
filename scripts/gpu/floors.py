"""What a step is compared with: bare cuBLAS products, and the loops on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.device.cublas import Product
from hpcpgd.machine.cores import affinity
from scripts.bench.contestants import ProgramRunner, program
from scripts.bench.setting import Setting


class Products:
    """Only the products of a step, with the same shapes and precision, as one CUDA graph."""

    def __init__(self, device: Any, network: Network, batch: int, precision: str) -> None:
        self._device = device
        widths = network.widths
        size = max(batch, *widths) * max(widths)
        random = np.random.default_rng(0)
        self._buffers = [device.buffer(size, np.float32) for _ in range(3)]
        for buffer in self._buffers[:2]:
            device.write(buffer, random.standard_normal(size, np.float32))
        self._shapes = []
        for l in range(1, network.depth + 1):
            i, o = widths[l - 1], widths[l]
            self._shapes.append(((False, False), (batch, o, i)))
            self._shapes.append(((True, False), (i, o, batch)))
            if l > 1:
                self._shapes.append(((False, True), (batch, i, o)))
        self._precision = precision
        self._work()
        self._launch = device.record(self._work)

    def _work(self) -> None:
        a, b, c = (buffer.address for buffer in self._buffers)
        for transposed, shape in self._shapes:
            self._device.gemm(Product(transposed, shape, a, b, c, 0.0, self._precision))

    def run(self, steps: int) -> None:
        """Launch the graph and wait."""
        for _ in range(steps):
            self._launch()
        self._device.synchronize()


@contextmanager
def cpu_loops(setting: Setting) -> Iterator[dict[str, ProgramRunner]]:
    """Yield the loops on one core and on all cores, by name; their threads end with the body."""
    cores = len(affinity())
    with ExitStack() as threads:
        here = replace(setting, threads=threads)
        yield {
            name: program("loops", "allreduce", here, count)
            for name, count in (("loops, 1 core", 1), (f"loops, {cores} cores", cores))
        }
