"""Every backend against ``reference``, and what each promises not to do."""

from __future__ import annotations

import ctypes
import tracemalloc
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import pytest

from hpcpgd.kernels.blas import blas_library
from hpcpgd.kernels.blas.numpy_gemm import MatmulStandIn
from hpcpgd.kernels.core.network import Network
from tests.helpers.problems import BOUND, FUNCTIONS, Problem, plan_of, the_blas

FAST = ["loops", "gemv", "gemm"]


def compare(problem: Problem, plan: Any, dtype: str) -> None:
    """Compare gradient, accumulated gradient and totals with the reference."""
    out = np.full(plan.network.size, np.nan, dtype)
    seen, totals = problem.require_right(partial(problem.gradient, plan), out, dtype)
    np.testing.assert_allclose(seen, totals, rtol=BOUND[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("functions", FUNCTIONS)
def test_gradient(backend: str, functions: tuple[str, str, str], threads: int, dtype: str) -> None:
    problem = Problem((13, 17, 11, 5), 37, functions)
    with closing(problem.plan(backend, dtype, threads)) as plan:
        compare(problem, plan, dtype)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("widths", [(1, 1), (1, 1, 1), (3, 1, 2), (65, 33, 129, 2), (4, 3)])
def test_odd_shapes_and_fewer_rows_than_threads(
    backend: str, widths: tuple[int, ...], rows: int
) -> None:
    problem = Problem(widths, rows, FUNCTIONS[0])
    with closing(problem.plan(backend, "float64", 4)) as plan:
        compare(problem, plan, "float64")


@pytest.mark.parametrize("threads", [1, 3])
def test_matmul_stand_in(threads: int) -> None:
    problem = Problem((13, 17, 5), 20, FUNCTIONS[0])
    for dtype in ("float64", "float32"):
        with closing(problem.plan("gemm", dtype, threads, MatmulStandIn())) as plan:
            compare(problem, plan, dtype)


def test_library_with_32_bit_integers() -> None:
    package = pytest.importorskip("scipy_openblas32", reason="scipy-openblas32 is not installed")
    problem = Problem((13, 17, 5), 20, FUNCTIONS[0])
    found = blas_library.open_library(f"{package.get_lib_dir()}/lib{package.get_library()}.so")
    assert not found.wide
    for backend in ("gemm", "gemv"):
        compare(problem, problem.plan(backend, "float64", 1, found), "float64")


@pytest.mark.parametrize("backend", ["reference", *FAST])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_reach_the_gradient(backend: str, bad: float) -> None:
    problem = Problem((5, 4, 3), 6, ("relu", "linear", "mse"))
    problem.x[3, 2] = bad
    with np.errstate(invalid="ignore"), closing(problem.plan(backend, "float64", 2)) as plan:
        parts, _ = problem.gradient(plan)
    assert not np.isfinite(parts[0]).all()


class CountingBlas:
    """A BLAS that counts its calls by routine and hands them to the real one."""

    path = "counting"

    def __init__(self) -> None:
        self.calls = dict.fromkeys(blas_library.ROUTINES, 0)
        self._keep: list[Any] = []

    def routines(self, dtype: str) -> blas_library.Routines:
        real = the_blas().routines(dtype)
        number = ctypes.c_float if dtype == "float32" else ctypes.c_double
        i, n, p = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
        shapes = {
            "gemm": (i, i, i, n, n, n, number, p, n, p, n, number, p, n),
            "gemv": (i, i, n, n, number, p, n, p, n, number, p, n),
            "ger": (i, n, n, number, p, n, p, n, p, n),
        }
        gemm, gemv, ger = (
            self._count(name, getattr(real, name), shapes[name]) for name in ("gemm", "gemv", "ger")
        )
        return blas_library.Routines(gemm, gemv, ger, np.int64(0))

    def _count(self, name: str, address: int, shape: tuple[Any, ...]) -> int:
        kind = ctypes.CFUNCTYPE(None, *shape)
        function = kind(address)

        def counted(*arguments: Any) -> None:
            self.calls[name] += 1
            function(*arguments)

        self._keep += [function, kind(counted)]
        return ctypes.cast(self._keep[-1], ctypes.c_void_p).value or 0


def test_which_routines_a_backend_calls() -> None:
    """Three layers: each example has 3 forward products, 3 for the weights, 2 for the deltas.

    ``gemm`` computes these deltas in three panels of rows.  A BLAS multiplies so many rows.
    """
    problem = Problem((13, 17, 11, 5), 150, FUNCTIONS[0])
    expected = {
        "loops": {"gemm": 0, "gemv": 0, "ger": 0},
        "gemv": {"gemm": 0, "gemv": 750, "ger": 450},
        "gemm": {"gemm": 12, "gemv": 0, "ger": 0},
    }
    for backend, calls in expected.items():
        counting = CountingBlas()
        problem.gradient(problem.plan(backend, "float64", 1, counting))
        assert counting.calls == calls, backend


def test_threads_of_loops_share_the_examples() -> None:
    """Each thread's totals count the examples that it worked on."""
    problem = Problem((13, 17, 5), 37, FUNCTIONS[0])
    with closing(problem.plan("loops", "float64", 4)) as plan:
        plan.gradient(problem.parameters(plan.network), 37, plan.network.zeros(), False)
        assert list(plan.work.totals[:, 2]) == [10, 9, 9, 9]


def test_gemm_allocates_nothing_in_a_step() -> None:
    net = Network((784, 256, 10), "float32")
    plan = plan_of("gemm", net, 1024, 1, the_blas())
    parameters, out = net.zeros(), net.zeros()
    for _ in range(3):
        plan.gradient(parameters, 1024, out, False)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(5):
        plan.gradient(parameters, 1024, out, False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Closures, tuples and numba's records of arrays; the step's smallest buffer has 40,960 bytes.
    assert peak - before < 20_000


@pytest.mark.parametrize("backend", FAST)
def test_compiled_code_allocates_nothing_in_a_step(backend: str) -> None:
    """numba counts each array that it is passed; more rows must not mean more arrays."""
    from numba.core.runtime import _nrt_python, rtsys

    problem = Problem((13, 17, 11, 5), 37, FUNCTIONS[0])
    plan = problem.plan(backend, "float32", 2)
    parameters, out = problem.parameters(plan.network), plan.network.zeros()

    def allocations(rows: int) -> int:
        before: int = rtsys.get_allocation_stats().alloc
        plan.gradient(parameters, rows, out, False)
        return int(rtsys.get_allocation_stats().alloc) - before

    with closing(plan):
        plan.gradient(parameters, 2, out, False)
        _nrt_python.memsys_enable_stats()
        try:
            assert allocations(37) == allocations(2) < 100
        finally:
            _nrt_python.memsys_disable_stats()
