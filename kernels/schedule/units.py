"""The three functions that a backend offers to schedules; each computes one unit.

A backend offers its versions for the type of ``library``, the NamedTuple that holds what it
calls.  The compiler then selects the version by this type.

Letters: B rows, I fan_in, O fan_out; ``rows`` and ``columns`` are (start, stop).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global

from hpcpgd.kernels.core.arithmetic import fma
from hpcpgd.kernels.core.compiled import Kernel, compiled
from hpcpgd.kernels.core.network import Array
from hpcpgd.kernels.core.views import matrix_at

Span = tuple[int, int]


class Memory(NamedTuple):
    """The buffers of a step; those marked * are shared by the workers of all processes.

    Attributes
    ----------
    parameters : * ndarray, flat
    target : ndarray, flat
        Receives the gradient; the parameters themselves if a unit computes the update.
    states : ndarray, shape (vectors, size of target)
        What the optimiser keeps, in the order of ``target``.
    activations, deltas : * ndarray, flat
        As in ``Workspace``.
    labels : * ndarray of int32, shape (capacity,), or of numbers, (capacity, O)
    predicted : ndarray of int32
    totals : ndarray of float64, shape (parts, 8)
    sums, scratch : ndarray, shape (threads, …)
        A row for each thread of this process.
    numbers : ndarray of int64, shape (threads, capacity)
    status : * ndarray of STATUS, shape (2, workers)
    """

    parameters: Array
    target: Array
    states: Array
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
    """One unit of a gradient and its target: ``dweight = alpha ∂W + beta dweight``.

    ∂W is summed over the examples ``rows``.  The unit has rows ``fan_in`` and ``columns`` of ∂W.
    """

    rows: Span
    fan_in: Span
    columns: Span
    dweight: Array  # (I, O) of the unit
    alpha: float
    beta: float


@compiled()
def scratch_of(scratch: Array, target: Target) -> Array:
    """Return zeros (I, O) in which a unit may sum the gradients of its examples.

    They lie in ``scratch``, a thread's row of ``Memory.scratch``.
    """
    dweight = target.dweight
    sums = matrix_at(scratch, 0, dweight.shape[0], dweight.shape[1])
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            sums[i, j] = sums.dtype.type(0)
    return sums


@compiled()
def add_scaled(target: Target, sums: Array) -> None:
    """Replace a unit's ``dweight`` by ``alpha sums + beta dweight``."""
    dweight, real = target.dweight, sums.dtype.type
    alpha, beta = real(target.alpha), real(target.beta)
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            before = dweight[i, j] * beta if beta != 0 else real(0)
            dweight[i, j] = fma(alpha, sums[i, j], before)


def forward(
    library: Any, table: Array, memory: Memory, layer: int, rows: Span, columns: Span, thread: int
) -> None:
    """Algorithm 3: activations of ``layer`` in ``rows`` and ``columns``.

    ``thread`` is this thread's number in its process.
    """


def back(
    library: Any, table: Array, memory: Memory, layer: int, rows: Span, columns: Span, thread: int
) -> None:
    """Algorithm 4: deltas of ``layer - 1`` in ``rows`` and ``columns``."""


def gradient(
    library: Any, table: Array, memory: Memory, layer: int, target: Target, thread: int
) -> None:
    """Algorithm 4: a unit of ∂W of ``layer``."""


def offer(kind: type, kernels: dict[Callable[..., None], Kernel]) -> None:
    """Make compiled code call a backend's kernels if the library is of type ``kind``.

    Parameters
    ----------
    kind : type
        A NamedTuple, the type of the first argument of every call.
    kernels : dict
        The kernel that is called in place of each function.
    """
    for function, kernel in kernels.items():
        infer_global(function, types.Function(_template(kind, function, kernel)))


def _template(kind: type, function: Callable[..., None], kernel: Kernel) -> type[AbstractTemplate]:
    """Return numba's typing of a call of ``function``: as the same call of ``kernel``.

    numba's ``overload`` would compile one more function between the two to machine code.
    """
    callee = types.Dispatcher(kernel.linked)

    class Template(AbstractTemplate):
        key = function

        def generic(self, args: Any, kws: Any) -> Any:
            library = args[0]
            if isinstance(library, types.BaseNamedTuple) and library.instance_class is kind:
                return callee.get_call_type(self.context, args, kws)
            return None

        def get_impl_key(self, sig: Any) -> Any:
            return callee.get_impl_key(sig)

    return Template
