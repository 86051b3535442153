"""Schedules: every number is computed once, by the worker to which its unit belongs."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from hpcpgd.kernels.core.arithmetic import IS_X86
from hpcpgd.kernels.core.network import Network
from hpcpgd.kernels.core.partition import LANES, block_range, columns_range
from hpcpgd.kernels.schedule.phases import (
    BACK,
    GRADIENT,
    OUTPUT,
    Grid,
    Phase,
    Schedule,
    divided,
    fixed,
    in_pieces,
    shape,
    unit_flops,
)
from tests.helpers.problems import FUNCTIONS, Problem

NETS = [
    Network((784, 1024, 10)),
    Network((784, 1024, 1024, 10), "float64"),
    Network((13, 17, 5)),
    Network((1, 1)),
    Network((64, 1000, 33, 3)),
]
WORKERS = [1, 2, 3, 4, 5, 7, 8, 16, 32]


def flops(schedule: Schedule, network: Network, rows: int) -> Any:
    """Return the floating-point operations of each worker's products."""
    done = np.zeros(schedule.workers, np.int64)
    for phase, bounds in zip(schedule.phases, schedule.bounds, strict=True):
        for worker in range(schedule.workers):
            units = range(bounds[worker], bounds[worker + 1])
            done[worker] += sum(unit_flops(network, phase, rows, unit) for unit in units)
    return done


def covered(network: Network, schedule: Schedule, rows: int) -> dict[tuple[int, int], Any]:
    """Return how often each number of each product's result is computed."""
    counts: dict[tuple[int, int], Any] = {}
    for phase, bounds in zip(schedule.phases, schedule.bounds, strict=True):
        m, n, _ = shape(network, phase.kind, phase.layer, rows)
        count = counts.setdefault((phase.kind, phase.layer), np.zeros((m, n), int))
        for unit in range(bounds[0], bounds[-1]):
            part, tile = divmod(unit, phase.grid.tiles)
            top, bottom = block_range(m, phase.grid.parts, part)
            left, right = columns_range(n, phase.grid.tiles, tile)
            count[top:bottom, left:right] += 1
    return counts


@pytest.mark.parametrize("network", NETS, ids=lambda net: "-".join(map(str, net.widths)))
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("rows", [1, 37, 128])
def test_every_number_is_computed_once(network: Network, workers: int, rows: int) -> None:
    schedules = [
        divided(network, rows, workers),
        divided(network, rows, workers, max(workers - 1, 1)),
        in_pieces(network, rows, workers),
        fixed(network, rows, 4, workers),
        fixed(network, rows, 3, workers),
    ]
    for schedule in schedules:
        assert schedule.workers == workers
        counts = covered(network, schedule, rows)
        assert len(counts) == 3 * network.depth - 1
        assert all((count == 1).all() for count in counts.values())


@pytest.mark.parametrize("network", NETS[:2], ids=["net-1h", "net-2h"])
@pytest.mark.parametrize("rows", [128, 1024])
def test_work_falls_as_one_over_the_workers(network: Network, rows: int) -> None:
    """It falls so up to 32 workers, to within a unit of work: no unit is computed twice."""
    total = network.flops_per_example * rows
    for workers in range(1, 33):
        schedule = fixed(network, rows, 4, workers)
        done = flops(schedule, network, rows)
        largest = max(unit_flops(network, phase, rows, 0) for phase in schedule.phases)
        assert done.sum() == total
        assert np.abs(done - total / workers).max() <= largest


def test_fixed_units_do_not_depend_on_the_workers() -> None:
    for network in NETS:
        made = [fixed(network, 128, 4, workers) for workers in WORKERS]
        grids = {tuple(phase.grid for phase in schedule.phases) for schedule in made}
        assert len(grids) == 1


def test_columns_are_cut_where_vectors_begin() -> None:
    for n in (1, 15, 16, 17, 1000, 1024):
        for parts in (1, 2, 3, 8):
            edges = [columns_range(n, parts, part) for part in range(parts)]
            assert edges[0][0] == 0
            assert edges[-1][1] == n
            for (_, end), (begin, _) in itertools.pairwise(edges):
                assert end == begin
                assert begin % LANES == 0 or begin == n


def test_few_rows_are_divided_by_columns() -> None:
    """At 32 ranks and batch 128, a GEMM would be slow on the four rows of a rank."""
    schedule = divided(NETS[1], 128, 32)
    for phase in schedule.phases:
        if phase.kind == OUTPUT:
            assert phase.grid == Grid(32, 1)
        elif phase.kind != GRADIENT and phase.layer == 2 and phase.kind != BACK:
            assert phase.grid.tiles > 1
    assert divided(NETS[1], 4096, 2).phases[0].grid == Grid(2, 1)


def test_workers_wait_only_where_they_need_each_other() -> None:
    """Rows of one worker need no barrier, but its weight gradients need the deltas of all."""
    rows = [Phase(kind, 1, Grid(2, 1)) for kind in (0, OUTPUT, BACK)]
    schedule = Schedule((*rows, Phase(GRADIENT, 1, Grid(1, 2))), ((1, 1),) * 4)
    assert list(schedule.table["sync"][:3]) == [0, 0, 1]
    columns = Schedule((Phase(0, 1, Grid(1, 2)), *rows[1:]), ((1, 1),) * 3)
    assert columns.table["sync"][0] == 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("backend", ["loops", "gemv", "gemm"])
@pytest.mark.parametrize("functions", FUNCTIONS)
def test_units_of_every_backend_give_the_gradient(
    backend: str, functions: tuple[str, str, str], workers: int, dtype: str
) -> None:
    problem = Problem((13, 40, 33, 5), 37, functions)
    expected, totals = problem.gradient(problem.plan("reference", "float64"))
    schedule = fixed(problem.network(dtype), 37, 3, workers)
    with closing(problem.scheduled(backend, dtype, schedule)) as plan:
        found, seen = problem.gradient(plan)
    bound = 1e-12 if dtype == "float64" else 2e-5
    for part, exact in zip(found, expected, strict=True):
        assert np.max(np.abs(part - exact)) / (np.abs(exact).max() + 1) < bound
    np.testing.assert_allclose(seen, totals, rtol=bound)


@pytest.mark.parametrize("backend", ["loops", "gemv", "gemm"])
def test_fixed_units_give_the_same_bits_on_any_threads(backend: str) -> None:
    problem = Problem((13, 40, 33, 5), 37, FUNCTIONS[0])
    results = []
    for workers in (1, 2, 5):
        schedule = fixed(problem.network("float32"), 37, 4, workers)
        with closing(problem.scheduled(backend, "float32", schedule)) as plan:
            parts, _ = problem.gradient(plan)
        results.append(b"".join(part.tobytes() for part in parts))
    assert results.count(results[0]) == 3


@pytest.mark.skipif(not IS_X86, reason="only x86 processors are slow with denormals")
@pytest.mark.parametrize("backend", ["gemm", "loops"])
def test_a_step_makes_no_denormals(backend: str) -> None:
    """Products of deltas that are denormals took far longer."""
    problem = Problem((20, 16, 3), 9, ("linear", "linear", "mse"))
    problem.x *= 1e-20
    problem.parts = [(1e-20 * weights, 0 * biases) for weights, biases in problem.parts]
    plan = problem.scheduled(backend, "float32", divided(problem.network("float32"), 9, 1))
    plan.evaluate(problem.parameters(plan.network), 9)
    assert not plan.work.layer(1)[:9].any()
    assert np.float32(1e-30) * np.float32(1e-10) > 0  # this thread's own mode is as before
    plan.close()
