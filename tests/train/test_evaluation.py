"""Losses where outputs saturate: finite, and right as far as the number type can tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpcpgd.kernels.core.elementwise import LOSS
from tests.helpers.problems import Problem


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [("reference", "float64")]
    + [(b, d) for b in ("loops", "gemv", "gemm") for d in ("float64", "float32")],
)
@pytest.mark.parametrize("z", [5.0, 12.0, 16.0, 40.0, 200.0])
def test_cross_entropy_of_a_wrong_and_certain_answer(backend: str, dtype: str, z: float) -> None:
    """Two sigmoid outputs at z and -z, the second right: the loss is 2 log(1 + exp(z))."""
    problem = Problem((1, 2), 1, ("sigmoid", "sigmoid", "cross-entropy"))
    problem.x[:] = 1
    problem.labels[:] = 1
    problem.parts = [(np.array([[z, -z]]), np.zeros(2))]
    plan = problem.plan(backend, dtype)
    plan.evaluate(problem.parameters(plan.network), 1)
    loss = plan.work.take_totals()[LOSS]
    exact = math.log1p(math.exp(z))
    # The output near 0 keeps its digits as far as the exponent goes; the one near 1 stops
    # half a rounding step short of it.
    step = 2.0**-25 if dtype == "float32" else 2.0**-54
    near_one = min(exact, -math.log(step))
    near_zero = min(exact, 88.0 if dtype == "float32" else 709.0)
    # An output close to 1 has few digits of what it lacks.
    lost = 2 * step / max(math.exp(-z), step)
    slack = lost + 0.02 * near_zero * (z > 80) + 1e-4
    assert loss == pytest.approx(near_one + near_zero, abs=slack)
