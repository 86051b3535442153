"""The check of a gradient against ``reference``, which each contestant passes before timing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hpcpgd.engines.loader import load_rows, scaling_of
from hpcpgd.kernels.backends import reference
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.parallel import mpi
from scripts.bench.contestants import Runner
from scripts.bench.setting import Setting


class MismatchError(Exception):
    """A gradient differs from that of ``reference``; raised on every rank."""


def parts(network: Network, flat: Array) -> list[Array]:
    """Return weights and biases of all layers in ``flat`` as float64."""
    return [np.asarray(part, np.float64) for part in network.parts(flat).values()]


def reference_gradient(setting: Setting) -> list[Array]:
    """Return the parts of the summed gradient of the first minibatch, by ``reference``."""
    network = replace(setting.network, dtype="float64")
    parameters = network.filled(parts(setting.network, setting.parameters()))
    gradient = network.zeros()
    plan = reference.Plan(network, setting.batch, 1, setting.blas)
    scaling = scaling_of(setting.dataset, network.dtype)
    load_rows(setting.dataset.train, setting.first_rows(), scaling, plan.work)
    plan.gradient(parameters, setting.batch, gradient, False)
    return parts(network, gradient)


def relative_error(actual: list[Array], expected: list[Array]) -> float:
    """Return the largest relative error of any part, in the Euclidean norm; inf for NaN."""
    errors = [
        np.linalg.norm(a - e) / max(float(np.linalg.norm(e)), 1e-30)
        for a, e in zip(actual, expected, strict=True)
    ]
    worst = float(np.max(errors))
    return worst if np.isfinite(worst) else np.inf


def verify(
    comm: Any, name: str, setting: Setting, runner: Runner | None, expected: Any, tolerance: float
) -> float:
    """Return the relative error of a runner's gradient; collective over ``comm``.

    Raises
    ------
    MismatchError
        If it is above ``tolerance`` on any rank that has a runner.
    """
    local_error = 0.0
    with mpi.agreed(comm):
        if runner is not None:
            local_error = relative_error(parts(setting.network, runner.gradient()), expected)
    error = mpi.allreduce_max(comm, local_error)
    if error > tolerance:
        raise MismatchError(
            f"{name}: relative error {error:.2g} of the gradient against reference "
            f"(at most {tolerance:g} is allowed): not timed"
        )
    return error
