"""Blocks of a product whose sums stay in the vector registers of processors with AVX-512.

Addresses and strides are in bytes.  A line is a row of a matrix in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hpcpgd.kernels.core.arithmetic import VECTOR, fused, vector_of

# Sums take up to 24 of the 32 registers.
HEIGHTS, WIDTHS = (8, 4, 2, 1), (3, 2, 1)  # rows and vectors of a block of ``add_block``
SIDES = 4, 1  # rows and columns of a block of ``set_block``
_LONG, _LANE = ir.IntType(64), ir.IntType(32)

Pair = tuple[int, int]


class _Emitter(NamedTuple):
    """Emits instructions on vectors of LLVM's type ``kind``, which it calls ``name``."""

    builder: Any
    kind: Any
    name: str

    def place(self, kind: Any, address: Any, distance: int = 0) -> Any:
        """Return a pointer to what is ``distance`` bytes from an address."""
        place = self.builder.add(address, ir.Constant(_LONG, distance))
        return self.builder.inttoptr(place, kind.as_pointer())

    def load(self, kind: Any, address: Any, distance: int = 0) -> Any:
        return self.builder.load(self.place(kind, address, distance), align=4)

    def lines(self, first: Any, count: int) -> list[Any]:
        """Return the addresses of ``count`` lines; ``first`` begins with address and stride."""
        numbers = (ir.Constant(_LONG, line) for line in range(count))
        return [self.builder.add(first[0], self.builder.mul(first[1], n)) for n in numbers]

    def shuffled(self, vector: Any, lanes: Iterable[int]) -> Any:
        lanes = [*lanes]
        mask = ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes)
        return self.builder.shuffle_vector(vector, vector, mask)

    def filled(self, number: Any) -> Any:
        """Return a vector that has one number in all lanes."""
        nothing, first = ir.Constant(self.kind, ir.Undefined), ir.Constant(_LANE, 0)
        one = self.builder.insert_element(nothing, number, first)
        return self.shuffled(one, [0] * self.kind.count)

    def total(self, vector: Any) -> Any:
        """Add the upper half of a vector to its lower half until one number is left."""
        half = self.kind.count // 2
        while half:
            parts = (self.shuffled(vector, range(k, k + half)) for k in (0, half))
            vector, half = self.builder.fadd(*parts), half // 2
        return self.builder.extract_element(vector, ir.Constant(_LANE, 0))

    def prefetch(self, address: Any, distance: int) -> None:
        """Request a cache line for the L2 cache."""
        byte = ir.IntType(8)
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), *[_LANE] * 3])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0i8")
        hints = [ir.Constant(_LANE, n) for n in (0, 2, 1)]  # to read data, kept from L2 on
        self.builder.call(function, [self.place(byte, address, distance), *hints])

    def sums(self, shape: Pair, depth: Any, factors: Callable[[Any], Any]) -> list[list[Any]]:
        """Return sums over ``depth`` steps of products of the vectors that ``factors`` loads."""
        builder, zero = self.builder, ir.Constant(self.kind, [0.0] * self.kind.count)
        sums = {
            (i, j): cgutils.alloca_once_value(builder, zero)
            for i, j in itertools.product(*map(range, shape))
        }
        with cgutils.for_range(builder, depth) as loop:
            left, right = map(list, factors(loop.index))
            for (i, j), place in sums.items():
                total = fused(builder, left[i], right[j], builder.load(place), self.name)
                builder.store(total, place)
        return [[builder.load(sums[i, j]) for j in range(shape[1])] for i in range(shape[0])]


def _add(emit: _Emitter, shape: Pair, left: Any, right: Any, out: Any, rest: Any) -> None:
    """Emit a block whose vectors are along N."""
    builder, (depth, alpha, beta) = emit.builder, rest
    rows, distances = emit.lines(left, shape[0]), [v * VECTOR for v in range(shape[1])]

    def factors(k: Any) -> Any:
        line = builder.add(right[0], builder.mul(right[1], k))
        for distance in distances:
            emit.prefetch(line, shape[1] * VECTOR + distance)  # the next block of columns
        step = builder.mul(left[2], k)
        numbers = (emit.load(emit.kind.element, builder.add(row, step)) for row in rows)
        return map(emit.filled, numbers), [emit.load(emit.kind, line, d) for d in distances]

    sums = emit.sums(shape, depth, factors)
    scales = [emit.filled(scale) for scale in (alpha, beta)]
    places = [[emit.place(emit.kind, line, d) for d in distances]
              for line in emit.lines(out, shape[0])]  # fmt: skip
    pairs = list(zip(itertools.chain(*sums), itertools.chain(*places), strict=True))
    is_zero = builder.fcmp_ordered("==", beta, ir.Constant(emit.kind.element, 0.0))
    with builder.if_else(is_zero) as (then, otherwise):
        with then:  # not 0 times what the buffer holds, which may be NaN
            for total, place in pairs:
                builder.store(builder.fmul(total, scales[0]), place, align=4)
        with otherwise:
            for total, place in pairs:
                before = builder.fmul(builder.load(place, align=4), scales[1])
                value = fused(builder, total, scales[0], before, emit.name)
                builder.store(value, place, align=4)


def _set(emit: _Emitter, shape: Pair, left: Any, right: Any, out: Any, rest: Any) -> None:
    """Emit a block whose vectors are along K."""
    lines = emit.lines(left, shape[0]), emit.lines(right, shape[1])

    def factors(k: Any) -> Any:
        step = emit.builder.mul(k, ir.Constant(_LONG, VECTOR))
        return [
            [emit.load(emit.kind, emit.builder.add(line, step)) for line in part] for part in lines
        ]

    size = VECTOR // emit.kind.count
    for sums, line in zip(
        emit.sums(shape, rest[0], factors), emit.lines(out, shape[0]), strict=True
    ):
        for j, vector in enumerate(sums):
            place = emit.place(emit.kind.element, line, j * size)
            emit.builder.store(emit.total(vector), place, align=4)


def _emitting(emit: Callable[..., None], shapes: list[Pair]) -> Callable[..., Any]:
    """Return the code generator of an intrinsic, which chooses among blocks of these shapes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector, _, name = vector_of(sig.args[0])
        wanted, *parts = [cgutils.unpack_tuple(builder, arg) for arg in args[1:]]
        for shape in shapes:
            same = [
                builder.icmp_signed("==", found, ir.Constant(_LONG, size))
                for found, size in zip(wanted, shape, strict=True)
            ]
            with builder.if_then(builder.and_(*same)):
                emit(_Emitter(builder, vector, name), shape, *parts)
        return context.get_dummy_value()

    return codegen


@intrinsic
def add_block(
    typingctx: Any, like: Any, shape: Any, left: Any, right: Any, out: Any, rest: Any
) -> Any:
    """Set rows and vectors of ``out`` to ``alpha left right + beta out``.

    Parameters
    ----------
    like : number
        Of the type of the matrices.
    shape : (int, int)
        Rows, one of ``HEIGHTS``, and vectors, one of ``WIDTHS``.
    left : (int, int, int)
        Address, and the strides of rows and along K.
    right, out : (int, int)
        Address, and stride of lines.
    rest : (int, number, number)
        K, alpha and beta.
    """
    shapes = list(itertools.product(HEIGHTS, WIDTHS))
    return types.void(like, shape, left, right, out, rest), _emitting(_add, shapes)


@intrinsic
def set_block(
    typingctx: Any, like: Any, shape: Any, left: Any, right: Any, out: Any, rest: Any
) -> Any:
    """Set rows and columns of ``out`` to the products of lines of two matrices.

    As in ``add_block``, but ``shape`` are two of ``SIDES``, ``left`` and ``right`` are an address
    and the stride of lines, which are along K, and ``rest`` is (vectors along K,).
    """
    shapes = list(itertools.product(SIDES, SIDES))
    return types.void(like, shape, left, right, out, rest), _emitting(_set, shapes)
