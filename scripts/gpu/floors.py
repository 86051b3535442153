"""What a step is compared with: bare cuBLAS products, and the loops on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from hpcpgd.config.run_config import RunConfig
from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.device.cublas import Product
from hpcpgd.machine.cores import affinity
from hpcpgd.machine.resources import Resources
from hpcpgd.train.planning import make_trainer
from hpcpgd.train.warmup import warm_up
from scripts.bench.setting import RATE, SEED, Setting


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


class Loops:
    """Backend ``loops`` on this machine's processor."""

    def __init__(self, setting: Setting, threads: int) -> None:
        self._setting = setting
        config = RunConfig(
            backend="loops", batch_size=setting.batch, seed=SEED, learning_rate=RATE,
            dtype="float32", matmul_precision="float32", reduction="allreduce",
        )  # fmt: skip
        resources = Resources(threads, False, None)
        self._trainer = make_trainer(
            setting.comm, config, setting.dataset, setting.network, setting.parameters(), resources
        )
        warm_up(self._trainer)

    def run(self, steps: int) -> None:
        """Repeat the first step of the epoch ``steps`` times."""
        for _ in range(steps):
            self._trainer.reduction.step(1, 0, RATE)

    def close(self) -> None:
        """End the threads."""
        self._trainer.close()


@contextmanager
def cpu_loops(setting: Setting) -> Iterator[dict[str, Loops]]:
    """Yield the loops on one core and on all cores, by name; their threads end with the body."""
    cores = len(affinity())
    with closing(Loops(setting, 1)) as one, closing(Loops(setting, cores)) as every:
        yield {"loops, 1 core": one, f"loops, {cores} cores": every}
