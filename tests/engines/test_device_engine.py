"""The engine on an emulated GPU: chunks, graphs, divergence, memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset, load, prepare
from hpcpgd.engines import context, device_engine
from hpcpgd.engines.parameters import initial_parameters, make_network
from hpcpgd.errors import DivergedError, UnavailableError
from hpcpgd.kernels.core.network import Array
from hpcpgd.machine.gpu import ALONE, Gpu
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel.mpi import MPI
from hpcpgd.train.planning import make_trainer
from hpcpgd.train.training_loop import Trainer
from hpcpgd.train.warmup import warm_up
from tests.emulation.build import compiler
from tests.emulation.device import EmulatedDevice
from tests.helpers.problems import the_blas

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler to emulate a GPU with")


@pytest.fixture(scope="module", autouse=True)
def _mpi() -> None:
    from hpcpgd.parallel import mpi

    mpi.start()


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return prepare(load("digits", seed=0), seed=0, train_rows=200, test_fraction=None)


def trainer(digits: Dataset, config: RunConfig, free: int = 2**40) -> tuple[Trainer, Any]:
    network = make_network(config, digits.n_in, digits.n_out)
    device = None
    resources = Resources(1, False, the_blas())
    if config.backend.startswith("cuda"):
        device = EmulatedDevice()
        resources = Resources(1, False, None, Gpu(device, "emulated", 1, free, ALONE))
    parameters = initial_parameters(network, config.seed)
    made = make_trainer(MPI.COMM_SELF, config, digits, network, parameters, resources)
    warm_up(made)
    return made, device


def config(backend: str, **others: Any) -> RunConfig:
    values: dict[str, Any] = {"hidden": (12,), "batch_size": 48, "epochs": 2, "dtype": "float64"}
    values |= {"matmul_precision": "float64", "learning_rate": 0.5, "reduction": "allreduce"}
    return RunConfig(backend=backend, **(values | others))


def trained(made: Trainer) -> Array:
    made.run(2, lambda number, epoch: None)
    return made.engine.parameters


def test_a_slice_in_chunks_is_the_slice(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, device = trainer(digits, config("cuda", batch_size="full"))
    expected = trained(whole)
    assert device.graphs == 2
    nbytes = 7 * whole.engine.network.bytes_per_row()
    monkeypatch.setattr(context, "DEVICE_CHUNK", (nbytes, 8192))
    cut, device = trainer(digits, config("cuda", batch_size="full"))
    assert cut.engine.capacity == 7
    np.testing.assert_allclose(trained(cut), expected, rtol=0, atol=1e-13)
    assert device.graphs == 2 * (-(-200 // 7) + 1)
    assert cut.history.column("train_loss") == pytest.approx(whole.history.column("train_loss"))


def test_warming_up_changes_nothing_and_records_every_graph(digits: Dataset) -> None:
    made, device = trainer(digits, config("cuda"))
    network = made.engine.network
    assert np.array_equal(made.engine.parameters, initial_parameters(network, 0))
    assert not made.engine.take_totals().any()
    assert made.engine.steps == 0
    device.record = None  # every shape of a step has been recorded
    trained(made)
    assert device.graphs == 2 * -(-200 // 48)


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_divergence_is_found_at_the_step_where_it_happened(
    digits: Dataset, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs run ahead of the host, which looks now and then; the step is known all the same."""
    monkeypatch.setattr(device_engine, "CHECK_EVERY", every)
    linear = {"activation": "relu", "output_activation": "linear", "loss": "mse"}
    wild = {**linear, "learning_rate": 1e60}
    host, _ = trainer(digits, config("gemm", **wild))
    gpu, _ = trainer(digits, config("cuda", **wild))
    messages = []
    for made in (host, gpu):
        with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
            made.run(2, lambda number, epoch: None)
        messages.append((str(caught.value), made.steps_done, made.engine.bad_step))
    assert messages[0] == messages[1]
    assert messages[0][1] > 1


def test_evaluation_and_training_take_turns(digits: Dataset) -> None:
    """Scores of a split in several chunks, between epochs, as on the host."""
    host, _ = trainer(digits, config("reference"))
    gpu, _ = trainer(digits, config("cuda-loops"))
    for made in (host, gpu):
        trained(made)
    for name in ("validation_loss", "validation_accuracy", "train_loss", "train_accuracy"):
        np.testing.assert_allclose(host.history.column(name), gpu.history.column(name), atol=1e-12)
    expected, seen = host.test(), gpu.test()
    assert seen.loss == pytest.approx(expected.loss, abs=1e-12)
    assert np.array_equal(seen.confusion, expected.confusion)


def test_two_runs_have_the_same_bits(digits: Dataset) -> None:
    made = (trainer(digits, config("cuda-loops", dtype="float32"))[0] for _ in range(2))
    one, other = map(trained, made)
    assert np.array_equal(one, other)


def test_a_gpu_that_is_too_small_is_refused_with_the_sizes(digits: Dataset) -> None:
    with pytest.raises(UnavailableError, match=r"1 ranks on one GPU need 0\.5 GiB.* 0\.4 GiB are"):
        trainer(digits, config("cuda"), free=int(0.4 * 2**30))


def test_a_split_without_rows(digits: Dataset) -> None:
    empty = replace(digits.test, features=digits.test.features[:0], labels=digits.test.labels[:0])
    made, _ = trainer(replace(digits, test=empty), config("cuda"))
    assert np.isnan(made.test().loss)
