"""The optimisers, against PyTorch's trajectories and against sums in another arrangement."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hpcpgd.kernels.core.arithmetic import IS_X86
from hpcpgd.kernels.core.optimisers import OPTIMISERS, Optimiser
from hpcpgd.kernels.core.update_rules import optimise
from tests.helpers.problems import Problem
from tests.helpers.support import SAMPLES

BATCH, DECAY = 8, 0.02
RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02, "adam": 0.01, "adamw": 0.01}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_pytorch_trajectory(name: str) -> None:
    """A hundred steps of PyTorch (scripts/make_trajectory.py), followed in float64."""
    stored = np.load(SAMPLES / "trajectory.npz")
    problem = Problem((12, 9, 7, 4), BATCH, ("tanh", "softmax", "cross-entropy"))
    problem.parts = [(stored[f"start{2 * i}"], stored[f"start{2 * i + 1}"]) for i in range(3)]
    plan = problem.plan("reference", "float64")
    net, optimiser = plan.network, Optimiser(name, 0.9, DECAY)
    parameters, gradient = problem.parameters(net), net.zeros()
    states = np.zeros((optimiser.traits.vectors, net.size))
    for step, rows in enumerate(stored["long_numbers"]):
        plan.work.inputs[:BATCH] = stored["x"][rows]
        plan.work.labels[:BATCH] = stored["labels"][rows]
        plan.gradient(parameters, BATCH, gradient, False)
        update = optimiser.update(RATES[name], BATCH, step)
        assert optimise(update, parameters, gradient, states, 0)
    for i, part in enumerate(net.parts(parameters).values()):
        np.testing.assert_allclose(part, stored[f"{name}_end{i}"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_bits_do_not_depend_on_how_parameters_are_cut(name: str, dtype: str) -> None:
    rng, optimiser = np.random.default_rng(0), Optimiser(name, 0.9, DECAY)
    start, gradient = rng.normal(size=(2, 333)).astype(dtype)
    vectors = rng.uniform(size=(optimiser.traits.vectors, 333)).astype(dtype)
    update, results = optimiser.update(0.05, 7, 4), []
    for cuts in ([0, 333], [0, 1, 16, 50, 331, 333]):
        parameters, states = start.copy(), vectors.copy()
        for begin, end in itertools.pairwise(cuts):
            optimise(update, parameters[begin:end], gradient[begin:end], states, begin)
        results.append((parameters, states))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_gradient_that_is_not_finite_is_noticed(name: str, bad: float) -> None:
    optimiser = Optimiser(name)
    gradient, states = np.zeros(40), np.zeros((optimiser.traits.vectors, 40))
    gradient[37] = bad
    assert not optimise(optimiser.update(0.1, 8, 0), np.zeros(40), gradient, states, 0)


@pytest.mark.parametrize(("norm", "scale"), [(15.0, 1 / 8), (32.0, 1 / 16), (np.inf, np.nan)])
def test_a_gradient_is_clipped_if_its_mean_is_too_long(norm: float, scale: float) -> None:
    optimiser = Optimiser("adam", clip=2.0)
    update = optimiser.update(0.1, 8, 3)
    expected = update._replace(scale=scale)
    assert np.array_equal(optimiser.clipped(update, norm), expected, equal_nan=True)


@pytest.mark.skipif(not IS_X86, reason="only x86 processors are slow with denormals")
@pytest.mark.parametrize("name", [name for name, traits in OPTIMISERS.items() if traits.vectors])
def test_what_an_optimiser_keeps_never_stays_denormal(name: str) -> None:
    """With denormals a step of Adam on Net-2h was five times as long."""
    parameters, gradient = np.ones(33, np.float32), np.zeros(33, np.float32)
    states = np.full((OPTIMISERS[name].vectors, 33), 1e-40, np.float32)
    assert optimise(Optimiser(name).update(0.1, 1, 5), parameters, gradient, states, 0)
    assert not states.any()
    assert (parameters == 1).all()
    assert np.float32(1e-30) * np.float32(1e-10) > 0  # this thread's own mode is as before
