"""Fused multiply-add and dot products whose bits do not depend on the compiler.

LLVM may compile one function into several copies.  If it is free to fuse a product with a
sum, it may do so in one copy and not in another.  The process that compiled a kernel and one
that loaded it from the cache could then differ in the last bit.  So LLVM is never allowed to
fuse here, and code that needs the speed calls ``fma`` explicitly.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array

CHAINS = 4  # independent vector sums of a dot product, which hide the latency of one
VECTOR = 64  # bytes of each vector

_FEATURES = binding.get_host_cpu_features()
# All 64-bit Arm processors have the instruction.  Without it LLVM would call the C library.
FUSES = bool(_FEATURES.get("fma", False)) or binding.get_process_triple().startswith("a")

IS_X86 = binding.get_process_triple().startswith("x86")
_MODE, FLUSH = ir.IntType(32), 0x8040  # bits of MXCSR: results, and operands, become 0


def fused(builder: Any, a: Any, b: Any, c: Any, name: str) -> Any:
    """Emit ``a * b + c``; ``name`` is LLVM's of their type."""
    if not FUSES:
        return builder.fadd(builder.fmul(a, b), c)
    kind = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.{name}")
    return builder.call(function, [a, b, c])


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute ``a * b + c``, rounded once if the processor can; all three have one type."""
    if not (a == b == c and a in (types.float32, types.float64)):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, y, z = args
        return fused(builder, x, y, z, "f32" if a == types.float32 else "f64")

    return a(a, a, a), codegen


def vector_of(a: Any) -> tuple[Any, int, str]:
    """Return LLVM's type of a vector of numbers of the type of ``a``, its lanes and its name."""
    lanes = VECTOR // (4 if a == types.float32 else 8)
    number = ir.FloatType() if a == types.float32 else ir.DoubleType()
    return ir.VectorType(number, lanes), lanes, f"v{lanes}f{VECTOR * 8 // lanes}"


@intrinsic
def _blocks(typingctx: Any, like: Any, a: Any, b: Any, blocks: Any) -> Any:
    """Return the dot product of ``blocks`` whole blocks at addresses ``a`` and ``b``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector, lanes, name = vector_of(like)
        zero = ir.Constant(vector, [ir.Constant(vector.element, 0.0)] * lanes)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(CHAINS)]
        bases = [builder.inttoptr(arg, vector.as_pointer()) for arg in args[1:3]]
        with cgutils.for_range(builder, args[3]) as loop:
            start = builder.mul(loop.index, ir.Constant(loop.index.type, CHAINS))
            for chain, total in enumerate(sums):
                at = builder.add(start, ir.Constant(start.type, chain))
                x, y = (builder.load(builder.gep(base, [at]), align=4) for base in bases)
                builder.store(fused(builder, x, y, builder.load(total), name), total)
        total = builder.load(sums[0])
        for other in sums[1:]:
            total = builder.fadd(total, builder.load(other))
        out = ir.Constant(vector.element, 0.0)
        for lane in range(lanes):
            item = builder.extract_element(total, ir.Constant(ir.IntType(32), lane))
            out = builder.fadd(out, item)
        return out

    return like(like, types.uintp, types.uintp, types.int64), codegen


@intrinsic
def denormals_as_zero(typingctx: Any) -> Any:
    """Let this thread take denormal numbers for 0 until ``set_float_mode``; return its mode.

    x86 processors are far slower with denormals.  Where there is no such
    mode (0 is returned), nothing changes.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not IS_X86:
            return ir.Constant(_MODE, 0)
        place = cgutils.alloca_once(builder, _MODE)
        _mode_call(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(_MODE, FLUSH)), place)
        _mode_call(builder, "ldmxcsr", place)
        return before

    return types.int32(), codegen


@intrinsic
def set_float_mode(typingctx: Any, mode: Any) -> Any:
    """Restore the mode that ``denormals_as_zero`` returned."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if IS_X86:
            place = cgutils.alloca_once_value(builder, args[0])
            _mode_call(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.void(types.int32), codegen


def _mode_call(builder: Any, name: str, place: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, byte)])


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Request the cache line at ``address`` without waiting for it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        # For a read; with the highest locality; into the data cache.
        hints = [ir.Constant(word, n) for n in (0, 3, 1)]
        builder.call(function, [builder.inttoptr(args[0], byte), *hints])
        return context.get_dummy_value()

    return types.void(types.uintp), codegen


@compiled()
def dot(a: Array, b: Array) -> Any:
    """Return the dot product of two contiguous vectors, summed in a fixed order."""
    zero = a.dtype.type(0)
    block = CHAINS * VECTOR // a.itemsize
    whole = a.size // block
    total = _blocks(zero, a.ctypes.data, b.ctypes.data, whole)
    for j in range(whole * block, a.size):
        total = fma(a[j], b[j], total)
    return total
