"""Units on tiles: every product's bits as in the emulation, gradients of float32 accuracy."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from hpcpgd.kernels.backends.registry import TILE_PARTS
from hpcpgd.kernels.schedule.phases import Schedule, divided, fixed
from hpcpgd.kernels.tiles.amx import refusal
from hpcpgd.reductions.traffic import step_products
from tests.emulation import tiles
from tests.helpers.problems import FUNCTIONS, Problem
from tests.kernels.test_tiles import assert_same_bits

LINEAR = ("linear", "linear", "mse")
SCALE = 1 / 255


def tiled(problem: Problem, precision: str, schedule: Schedule, scale: float | None = None) -> Any:
    """Return a plan on tiles, its rows loaded."""
    assert refusal() == ""
    plan = problem.scheduled("gemm", "float32", schedule, precision, scale)
    if scale is not None:
        plan.work.inputs[:] = np.round(plan.work.inputs / scale)
    return plan


def pixels(problem: Problem) -> Problem:
    """Give a problem rows of bytes, times ``SCALE``."""
    problem.x[:] = np.random.default_rng(1).integers(0, 256, problem.x.shape) * SCALE
    return problem


@pytest.mark.amx
@pytest.mark.parametrize("precision", TILE_PARTS)
@pytest.mark.parametrize("scale", [None, SCALE])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_bit_of_a_step(workers: int, scale: float | None, precision: str) -> None:
    """Functions are linear, so that activations and deltas are products, and sums with biases."""
    problem, parts = pixels(Problem((45, 70, 33, 5), 75, LINEAR)), TILE_PARTS[precision]
    schedule = divided(problem.network("float32"), 75, workers)
    with closing(tiled(problem, precision, schedule, scale)) as plan:
        dweights, _ = problem.gradient(plan)
        work, network = plan.work, plan.network
        flat = problem.parameters(network)
        for layer in range(1, 4):
            first = 1 if layer == 1 and scale else parts
            factor = (scale or 1.0 if layer == 1 else 1.0, 0.0)
            a, delta = work.layer(layer - 1)[:75], work.delta(layer)[:75]
            weights, biases = network.weights(flat, layer), network.biases(flat, layer)
            both, none = (first, parts), np.zeros(1, np.float32)
            z = tiles.multiply(a, weights, both, factor, none) + biases
            assert_same_bits(work.layer(layer)[:75], z)
            expected = tiles.multiply(a.T, delta, both, factor, none)
            assert_same_bits(dweights[2 * layer - 2], expected)
            if layer > 1:
                back = tiles.multiply(delta, weights.T, (parts, parts), (1.0, 0.0), none)
                assert_same_bits(work.delta(layer - 1)[:75], back)


@pytest.mark.amx
@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("precision", TILE_PARTS)
def test_any_division_gives_the_same_bits(precision: str, functions: Any) -> None:
    problem = Problem((45, 70, 33, 5), 75, functions)
    network, results = problem.network("float32"), []
    schedules = [divided(network, 75, w) for w in (1, 2, 3, 7)] + [fixed(network, 75, 4, 2)]
    for schedule in schedules:
        with closing(tiled(problem, precision, schedule)) as plan:
            results.append(b"".join(part.tobytes() for part in problem.gradient(plan)[0]))
    assert results.count(results[0]) == len(schedules)


@pytest.mark.amx
@pytest.mark.parametrize("functions", FUNCTIONS)
def test_layers_of_several_blocks_of_columns(functions: Any) -> None:
    """Softmax, too, of which every output needs all columns."""
    problem = Problem((1030, 600, 700), 40, functions)
    exact, _ = problem.gradient(problem.plan("reference", "float64"))
    schedule = divided(problem.network("float32"), 40, 1)
    with closing(tiled(problem, "bf16x6", schedule)) as plan:
        found, _ = problem.gradient(plan)
    for part, truth in zip(found, exact, strict=True):
        assert np.linalg.norm(part - truth) < 1e-5 * np.linalg.norm(truth)


@pytest.mark.amx
@pytest.mark.parametrize("scale", [None, SCALE])
@pytest.mark.parametrize("rows", [1, 128, 16384])
def test_gradients_are_as_accurate_as_those_of_float32(rows: int, scale: float | None) -> None:
    """Not one by one: errors of float32 products vary, and so do these."""
    ratios = []
    for widths in ((45, 1, 3), (45, 70, 5), (45, 200, 130, 7), (130, 64, 64, 64, 4)):
        problem = pixels(Problem(widths, rows, FUNCTIONS[0]))
        exact, _ = problem.gradient(problem.plan("reference", "float64"))
        schedule = divided(problem.network("float32"), rows, 1)
        with closing(tiled(problem, "bf16x6", schedule, scale)) as plan:
            found, _ = problem.gradient(plan)
        with closing(problem.plan("gemm", "float32")) as plan:
            plain, _ = problem.gradient(plan)
        for a, b, truth in zip(found[::2], plain[::2], exact[::2], strict=True):
            ratios.append(np.linalg.norm(a - truth) / np.linalg.norm(b - truth))
    assert max(ratios) < 2
    assert np.exp(np.mean(np.log(ratios))) < 1.05


def test_cost_counts_the_products_of_parts() -> None:
    network = Problem((45, 70, 5), 1, LINEAR).network("float32")
    plain = [cost.flops for cost in step_products(network, 10, "float32", True)]
    for precision, inputs, times in (("bf16", 1, 1), ("bf16x6", 3, 6)):
        costs = step_products(network, 10, precision, True)
        each = [inputs if cost.layer == 1 else times for cost in costs]
        assert [cost.flops for cost in costs] == [
            n * flops for n, flops in zip(each, plain, strict=True)
        ]
