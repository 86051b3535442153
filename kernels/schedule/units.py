"""What a backend offers to schedules: three functions, each of which computes one unit.

A backend offers its own for the type of ``library``, the NamedTuple that holds what it
calls; compiled code then has no choice left to make.

Letters: B rows, I fan_in, O fan_out; ``rows`` and ``columns`` are (start, stop).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.extending import overload

from hpcpgd.kernels.core.arithmetic import fma
from hpcpgd.kernels.core.compiled import compiled
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.views import matrix_at

Span = tuple[int, int]


class Memory(NamedTuple):
    """The buffers of a step; those that several workers see are marked *.

    Attributes
    ----------
    parameters : * ndarray, flat
    target : ndarray, flat
        Receives the gradient; the parameters themselves where a unit makes the update.
    activations, deltas : * ndarray, flat
        As in ``Workspace``.
    labels : * ndarray of int32
    predicted : ndarray of int32
    totals : ndarray of float64, shape (parts, 8)
    sums, scratch : ndarray, shape (threads, …)
        A row for each thread of this process.
    numbers : ndarray of int64, shape (threads, capacity)
    status : * ndarray of STATUS, shape (2, workers)
    """

    parameters: Array
    target: Array
    activations: Array
    deltas: Array
    labels: Array
    predicted: Array
    totals: Array
    sums: Array
    scratch: Array
    numbers: Array
    status: Array


class Target(NamedTuple):
    """Where one unit of a gradient goes: ``dweight = alpha ∂W + beta dweight``.

    ``scratch`` has room for the unit.
    """

    dweight: Array  # (I, O) of the unit
    alpha: float
    beta: float
    scratch: Array


@compiled()
def scratch_of(target: Target) -> Array:
    """Return zeros (I, O) that a unit may sum its examples' gradients in."""
    dweight = target.dweight
    sums = matrix_at(target.scratch, 0, dweight.shape[0], dweight.shape[1])
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            sums[i, j] = sums.dtype.type(0)
    return sums


@compiled()
def add_scaled(target: Target, sums: Array) -> None:
    """Put ``alpha sums + beta dweight`` in the place of a unit's gradient."""
    dweight, real = target.dweight, sums.dtype.type
    alpha, beta = real(target.alpha), real(target.beta)
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            before = dweight[i, j] * beta if beta != 0 else real(0)
            dweight[i, j] = fma(alpha, sums[i, j], before)


def forward(
    library: Any, table: Array, memory: Memory, layer: int, rows: Span, columns: Span
) -> None:
    """Algorithm 3: activations of ``layer`` in ``rows`` and ``columns``."""


def back(library: Any, table: Array, memory: Memory, layer: int, rows: Span, columns: Span) -> None:
    """Algorithm 4: deltas of ``layer - 1`` in ``rows`` and ``columns``."""


def gradient(
    library: Any,
    table: Array,
    memory: Memory,
    layer: int,
    rows: Span,
    fan_in: Span,
    columns: Span,
    target: Target,
) -> None:
    """Algorithm 4: ∂W of ``layer``, summed over ``rows``, in ``fan_in`` and ``columns``."""


def offer(kind: type, own_forward: Any, own_back: Any, own_gradient: Any) -> None:
    """Let compiled code that is given a library of ``kind`` call these three."""

    def is_ours(library: Any) -> bool:
        return isinstance(library, types.BaseNamedTuple) and library.instance_class is kind

    @overload(forward)
    def choose_forward(
        library: Any, table: Any, memory: Any, layer: Any, rows: Any, columns: Any
    ) -> Any:
        def unit(library: Any, table: Any, memory: Any, layer: Any, rows: Any, columns: Any) -> Any:
            own_forward(library, table, memory, layer, rows, columns)

        return unit if is_ours(library) else None

    @overload(back)
    def choose_back(
        library: Any, table: Any, memory: Any, layer: Any, rows: Any, columns: Any
    ) -> Any:
        def unit(library: Any, table: Any, memory: Any, layer: Any, rows: Any, columns: Any) -> Any:
            own_back(library, table, memory, layer, rows, columns)

        return unit if is_ours(library) else None

    @overload(gradient)
    def choose_gradient(
        library: Any,
        table: Any,
        memory: Any,
        layer: Any,
        rows: Any,
        fan_in: Any,
        columns: Any,
        target: Any,
    ) -> Any:
        def unit(
            library: Any,
            table: Any,
            memory: Any,
            layer: Any,
            rows: Any,
            fan_in: Any,
            columns: Any,
            target: Any,
        ) -> Any:
            own_gradient(library, table, memory, layer, rows, fan_in, columns, target)

        return unit if is_ours(library) else None
