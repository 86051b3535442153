"""The peaks of this machine: the time that the operations or the bytes of a step need.

They are timed in the same rounds as the contestants, on the same cores.
"""

from __future__ import annotations

import numpy as np

from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array, aligned_zeros
from hpcpgd.kernels.tiles.amx import (
    BLOCK,
    SIDE,
    add_product,
    clear_sums,
    configure,
    load_left,
    load_right,
    refusal,
    release,
)
from hpcpgd.machine.fma_peak import FLOPS, multiply_adds
from hpcpgd.reductions.traffic import step_products
from scripts.bench.setting import Setting

COPIED = 2**26  # bytes of an array that is copied: more than an L2 cache holds, not any L3 cache


@compiled()
def _tile_products(blocks: Array, count: int) -> None:
    configure()
    clear_sums()
    load_left(blocks.ctypes.data)
    load_right(blocks.ctypes.data + BLOCK)
    for _ in range(count):
        add_product()
    release()


class FmaPeak:
    """A step's operations as multiply-adds of float32 on independent vector registers."""

    def __init__(self, setting: Setting, threads: int) -> None:
        share = setting.batch // setting.comm.size
        self._flops = setting.network.flops_per_example * share
        self.run(1)

    def run(self, steps: int) -> None:
        """Compute as many operations as ``steps`` steps."""
        multiply_adds(self._flops * steps // FLOPS)


class AmxPeak(FmaPeak):
    """A step's operations as products of tiles that stay in their registers."""

    def __init__(self, setting: Setting, threads: int) -> None:
        # Not zeros, which take a processor less power: 1 % faster on an Intel Xeon.
        numbers = np.random.default_rng(0).standard_normal(BLOCK, np.float32)
        self._blocks = aligned_zeros(2 * BLOCK, np.uint8)
        self._blocks.view(np.uint16)[:] = numbers.view(np.uint32) >> 16  # bfloat16
        super().__init__(setting, threads)

    def run(self, steps: int) -> None:
        """Compute as many operations as ``steps`` steps."""
        _tile_products(self._blocks, self._flops * steps // (2 * SIDE**3))


class Memory:
    """A copy of as many bytes as the products of a step read and write, half of them read."""

    def __init__(self, setting: Setting, threads: int) -> None:
        costs = step_products(setting.network, setting.batch)
        share = sum(cost.bytes_moved for cost in costs) // setting.comm.size
        self._bytes = share // 2
        self._source, self._target = np.ones((2, COPIED), np.uint8)

    def run(self, steps: int) -> None:
        """Copy the bytes of ``steps`` steps."""
        whole, rest = divmod(self._bytes * steps, COPIED)
        for size in [COPIED] * whole + [rest]:
            self._target[:size] = self._source[:size]


PEAKS = {"FMA peak": FmaPeak, "memory": Memory} | ({} if refusal() else {"AMX peak": AmxPeak})
