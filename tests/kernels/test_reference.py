"""The oracle itself: by hand, by central differences, and against PyTorch's trajectory."""

from __future__ import annotations

import numpy as np
import pytest

from hpcpgd.kernels.backends.reference import Plan
from hpcpgd.kernels.core.elementwise import LOSS
from hpcpgd.kernels.core.network import Network
from tests.helpers.problems import FUNCTIONS, Problem, plan_of, the_blas
from tests.helpers.support import SAMPLES

BACKENDS = ["reference", "loops", "gemv", "gemm"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_layers_worked_by_hand(backend: str) -> None:
    """One example, small enough for a pocket calculator.

    Net 2-1-2, sigmoid, x = (1, 2), y = class 0, W1 = (0.5, -0.25), b1 = 0.1,
    W2 = (0.3, -0.2), b2 = (0, 0.05).  z1 = 0.1, a1 = 0.52497919, z2 = (0.15749376,
    -0.05499584), a2 = (0.53929226, 0.48625450).  delta2 = (a2 - y) a2 (1 - a2) =
    (-0.11446569, 0.12147176); delta1 = (0.3 * -0.11446569 - 0.2 * 0.12147176) a1 (1 - a1)
    = -0.01462193.
    """
    net = Network((2, 1, 2), "float64")
    plan = plan_of(backend, net, 1, 1, the_blas())
    p, g = net.zeros(), net.zeros()
    net.weights(p, 1)[:, 0] = (0.5, -0.25)
    net.biases(p, 1)[:] = 0.1
    net.weights(p, 2)[0] = (0.3, -0.2)
    net.biases(p, 2)[:] = (0.0, 0.05)
    plan.work.inputs[0] = (1, 2)
    plan.work.labels[0] = 0
    plan.gradient(p, 1, g, False)
    delta2 = np.array([-0.11446569, 0.12147176])
    np.testing.assert_allclose(net.biases(g, 2), delta2, atol=5e-8)
    np.testing.assert_allclose(net.weights(g, 2)[0], 0.52497919 * delta2, atol=5e-8)
    np.testing.assert_allclose(net.biases(g, 1), -0.01462193, atol=5e-8)
    np.testing.assert_allclose(net.weights(g, 1)[:, 0], [-0.01462193, -0.02924386], atol=1e-7)
    loss = (1 - 0.53929226) ** 2 + 0.48625450**2
    np.testing.assert_allclose(plan.work.take_totals()[:3], [loss, 1, 1], atol=5e-8)


HOST_FUNCTIONS = [
    *((functions, False) for functions in FUNCTIONS),
    (("gelu", "softmax", "cross-entropy"), False),
    (("relu,gelu", "sigmoid", "mse"), False),
    (("gelu,tanh", "linear", "mse"), True),
    (("sigmoid", "tanh", "mse"), True),
]


@pytest.mark.parametrize(("functions", "regression"), HOST_FUNCTIONS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_central_differences(
    backend: str, functions: tuple[str, str, str], regression: bool
) -> None:
    """The gradient of half of ``mse``, or of the cross-entropy, by differences of losses."""
    problem = Problem((5, 4, 3, 3), 6, functions, regression)
    plan = problem.plan(backend, "float64")
    net = plan.network
    parameters, out = problem.parameters(net), net.zeros()
    plan.gradient(parameters, 6, out, False)
    plan.work.take_totals()
    used = np.flatnonzero(out)
    assert used.size >= net.n_parameters * 0.8  # relu leaves some at 0
    h = 1e-6
    half = 0.5 if net.loss == "mse" else 1.0
    for k in used:
        losses = []
        for sign in (h, -h):
            moved = parameters.copy()
            moved[k] += sign
            plan.evaluate(moved, 6)
            losses.append(plan.work.take_totals()[LOSS])
        assert abs(half * (losses[0] - losses[1]) / (2 * h) - out[k]) < 1e-6


CASES = {
    "mse": ("sigmoid", "sigmoid", "mse"),
    "cross": ("tanh", "softmax", "cross-entropy"),
    "relu": ("relu", "linear", "mse"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_pytorch_trajectory(backend: str, case: str) -> None:
    """Forty steps of PyTorch (scripts/make_trajectory.py), followed in float64."""
    stored = np.load(SAMPLES / "trajectory.npz")
    widths = (12, 9, 7, 4)
    problem = Problem(widths, 8, CASES[case])
    problem.parts = [(stored[f"start{2 * i}"], stored[f"start{2 * i + 1}"]) for i in range(3)]
    plan = problem.plan(backend, "float64")
    net = plan.network
    parameters, out = problem.parameters(net), net.zeros()
    half = 0.5 if net.loss == "mse" else 1.0
    for rows, loss in zip(stored["numbers"], stored[f"{case}_losses"], strict=True):
        plan.work.inputs[:8] = stored["x"][rows]
        plan.work.labels[:8] = stored["labels"][rows]
        plan.gradient(parameters, 8, out, False)
        assert abs(half * plan.work.take_totals()[LOSS] / 8 - loss) < 1e-11
        parameters -= 0.5 / 8 * out
    for i, part in enumerate(net.parts(parameters).values()):
        np.testing.assert_allclose(part, stored[f"{case}_end{i}"], rtol=0, atol=1e-11)


def test_the_reference_is_float64() -> None:
    assert Plan(Network((2, 2), "float64"), 1, 1, None).work.inputs.dtype == np.float64
