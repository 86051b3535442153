"""What only a real GPU can show; everything else of it runs in emulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.helpers.problems import FUNCTIONS, Problem, upload
from tests.helpers.support import TRAIN, python

pytestmark = pytest.mark.gpu

BACKENDS = ["cuda-loops", "cuda"]


@pytest.fixture(scope="module")
def device() -> Any:
    from hpcpgd.kernels.device.cupy_device import CudaDevice

    return CudaDevice(0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("widths", [(13, 17, 11, 5), (784, 1000, 10), (31, 1023, 33, 10)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gradient(
    device: Any, backend: str, widths: tuple[int, ...], functions: tuple[str, str, str], dtype: str
) -> None:
    Problem(widths, 300, functions).require_right_on(device, backend, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_recorded_step_is_the_step(device: Any, backend: str) -> None:
    """Replayed three times it moves the parameters as three steps put in the stream do."""
    problem = Problem((65, 130, 10), 64, FUNCTIONS[0])
    results = []
    for recorded in (False, True):
        plan, rows = problem.device_plan(backend, "float32", device)
        parameters = upload(device, problem.parameters(plan.network))
        gradient = device.buffer(plan.network.size, "float32")

        def step(
            plan: Any = plan, rows: Any = rows, parameters: Any = parameters, out: Any = gradient
        ) -> None:
            plan.load(rows, 0, 64)
            plan.gradient(parameters, 64, out, False)
            plan.update(parameters, out, 0.01)

        if recorded:
            plan.load(rows, 0, 64)
            plan.gradient(parameters, 64, gradient, False)
            device.clear(gradient)
            plan.update(parameters, gradient, 0.0)
            plan.reset()
            step = device.record(step)
        for _ in range(3):
            step()
        results.append((device.read(parameters, plan.network.size), plan.take_totals(192)))
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_training_gives_the_weights_of_gemm(backend: str, ranks: int, tmp_path: Path) -> None:
    flags = ("--epochs", "3", "--dtype", "float64", "--quiet", "--output")
    host = python(*TRAIN, *flags, "host.h5", cwd=tmp_path)
    done = python(*TRAIN, "--backend", backend, *flags, "gpu.h5", ranks=ranks, cwd=tmp_path)
    assert (host.code, host.err, done.code, done.err) == (0, "", 0, "")
    with h5py.File(tmp_path / "host.h5") as one, h5py.File(tmp_path / "gpu.h5") as other:
        for name in ("layer1/weights", "layer2/weights", "layer1/biases"):
            found, expected = (file[f"model/{name}"][...] for file in (other, one))
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
