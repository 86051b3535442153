"""The FMA peak of a core: fused multiply-adds on independent vector registers.

A compiler does not keep an array of accumulators in registers.  The loop is therefore written in
LLVM's intermediate representation, where each chain is one vector that stays in its register.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hpcpgd.kernels.core.compiled import compiled

CHAINS = 12  # enough to hide a latency of 4 to 6 cycles on two units; AVX2 has 16 registers
SECONDS = 0.01  # duration of one sample


def lanes() -> int:
    """Return how many float32 numbers a vector register of this processor holds."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx") else 4


LANES = lanes()
FLOPS = 2 * CHAINS * LANES  # of one repeat


@intrinsic
def _chains(typingctx: Any, repeats: Any, factor: Any) -> Any:
    """Repeat ``chain = chain * factor + factor`` on all chains; return their sum."""
    signature = types.float32(types.int64, types.float32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), LANES)
        kind = ir.FunctionType(vector, [vector] * 3)
        name = f"llvm.fma.v{LANES}f32"
        fma = cgutils.get_or_insert_function(builder.module, kind, name)
        same = ir.Constant(vector, ir.Undefined)
        for lane in range(LANES):
            same = builder.insert_element(same, args[1], ir.Constant(ir.IntType(32), lane))
        chains = [cgutils.alloca_once_value(builder, same) for _ in range(CHAINS)]
        with cgutils.for_range(builder, args[0]):
            for chain in chains:
                builder.store(builder.call(fma, [builder.load(chain), same, same]), chain)
        total = ir.Constant(ir.FloatType(), 0.0)
        for chain in chains:
            for lane in range(LANES):  # uses every lane, so that none is optimised away
                item = builder.extract_element(
                    builder.load(chain), ir.Constant(ir.IntType(32), lane)
                )
                total = builder.fadd(total, item)
        return total

    return signature, codegen


@compiled()
def _run(repeats: int, factor: float) -> float:
    total: float = _chains(repeats, factor)
    return total


def multiply_adds(repeats: int) -> None:
    """Compute ``FLOPS * repeats`` floating-point operations in float32."""
    _run(repeats, np.float32(0.5))


class Peak:
    """A loop of fused multiply-adds that takes about ``SECONDS``."""

    def __init__(self) -> None:
        self._repeats = 100_000
        self.gflops()  # compiles the loop
        fastest = max(self.gflops() for _ in range(20))
        self._repeats = max(int(self._repeats * SECONDS * fastest * 1e9 / self.flops), 1)

    @property
    def flops(self) -> int:
        """Floating-point operations of one sample, in float32."""
        return FLOPS * self._repeats

    def run(self) -> None:
        """Run one sample."""
        multiply_adds(self._repeats)

    def gflops(self) -> float:
        """Return the rate of one sample, in GFLOP/s of float32."""
        start = perf_counter()
        self.run()
        return 1e-9 * self.flops / (perf_counter() - start)
