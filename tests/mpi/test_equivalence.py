"""On any number of ranks the weights are those of ``reference`` in one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import pytest

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset, load, prepare
from hpcpgd.data.dataset import RawData, Split
from hpcpgd.engines import context
from hpcpgd.engines.parameters import initial_parameters, make_network
from hpcpgd.errors import ReplicaError
from hpcpgd.kernels.blas import blas_library
from hpcpgd.machine import gpu
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Arena, make_group
from hpcpgd.parallel.mpi import MPI
from hpcpgd.parallel.stop import StopRequest
from hpcpgd.results.history import History
from hpcpgd.train.planning import make_trainer
from hpcpgd.train.training_loop import Trainer
from hpcpgd.train.warmup import warm_up
from tests.emulation.build import compiler
from tests.emulation.device import EmulatedDevice
from tests.helpers.support import MINI

pytestmark = pytest.mark.mpi
BOUND = {"float64": 1e-12, "float32": 1e-4}


@cache
def dataset() -> Dataset:
    """100 real digits of 28 x 28 for training, 20 for validation."""
    return prepare(load(str(MINI), seed=0), seed=0, train_rows=100, test_fraction=None)


def emulated_gpu(comm: Any, transport: str) -> tuple[gpu.Gpu, EmulatedDevice]:
    device = EmulatedDevice()
    way = gpu.ALONE if comm.size == 1 else transport
    return gpu.Gpu(device, device.name, comm.size, device.free_bytes(), way), device


@cache
def numbers() -> Dataset:
    """120 rows with two targets each, a fifth of them for validation."""
    random = np.random.default_rng(5)
    x = random.standard_normal((120, 6))
    y = np.tanh(x @ random.standard_normal((6, 2)))
    raw = RawData("numbers", Split(x, y), None, None, 2, 1.0, 0.0, True)
    return prepare(raw, seed=0, train_rows=100, test_fraction=None)


@contextmanager
def planned(
    comm: Any, config: RunConfig, threads: int = 1, on: gpu.Gpu | None = None,
    request: StopRequest | None = None, arena: Arena | None = None,
) -> Iterator[Trainer]:  # fmt: skip
    """Yield a trainer that is ready for its first step; its threads end with the body."""
    rows = numbers() if config.task == "regression" else dataset()
    network = make_network(config, rows.n_in, rows.n_out)
    parameters = initial_parameters(network, config.seed)
    resources = Resources(threads, False, blas_library.find(), on)
    shares = arena is None and REDUCTIONS[config.reduction].grouped
    with (
        group_memory(comm, config.group_size) if shares else nullcontext(arena) as memory,
        closing(
            make_trainer(comm, config, rows, network, parameters, resources, request, memory)
        ) as trainer,
    ):
        warm_up(trainer)
        yield trainer


def train(
    comm: Any, config: RunConfig, threads: int = 1, on: gpu.Gpu | None = None
) -> tuple[Any, History]:
    """Return the parts of the weights after the configured epochs, in float64."""
    with planned(comm, config, threads, on) as trainer:
        trainer.run(config.epochs, lambda number, epoch: None)
        parts = trainer.engine.network.parts(trainer.engine.parameters).values()
        return [part.astype(np.float64) for part in parts], trainer.history


def distance(parts: Any, exact: Any) -> float:
    """Return the largest difference between two runs' weights; NaN if one has NaN."""
    return float(np.max([np.max(np.abs(p - t)) for p, t in zip(parts, exact, strict=True)]))


def require_near(found: Any, expected: Any, bound: float) -> None:
    """Weights and losses of a run are those of another, up to rounding."""
    (parts, history), (exact, truth) = found, expected
    assert distance(parts, exact) < bound
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(
            history.column(name), truth.column(name), rtol=0, atol=10 * bound
        )


def require_same_bits(found: Any, expected: Any) -> None:
    """Weights and histories of two runs are the same."""
    assert all(np.array_equal(a, b) for a, b in zip(found[0], expected[0], strict=True))
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        one, other = found[1].column(name), expected[1].column(name)
        assert np.array_equal(one, other, equal_nan=True)


@contextmanager
def group_memory(comm: Any, size: int | str = "node") -> Iterator[Arena]:
    """Yield the memory of this rank's group, of ``size`` ranks or of those of its node."""
    ranks = mpi.join(comm)
    arena = Arena(ranks, make_group(ranks, None if size == "node" else int(size)))
    yield arena
    arena.free()
    arena.group.free()
    mpi.leave(ranks)


def config(
    backend: str, dtype: str, batch: int | str, reduction: str = "allreduce",
    group_size: int | str = "node",
) -> RunConfig:  # fmt: skip
    return RunConfig(
        backend=backend, dtype=dtype, batch_size=batch, hidden=(12, 9), epochs=3,
        learning_rate=0.5, reduction=reduction, matmul_precision=dtype, group_size=group_size,
    )  # fmt: skip


@cache
def reference(batch: int | str) -> tuple[Any, History]:
    return train(MPI.COMM_SELF, config("reference", "float64", batch))


@pytest.mark.parametrize("batch", [37, 2, "full"])
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [("reference", "float64")]
    + [(b, d) for b in ("loops", "gemv", "gemm") for d in ("float64", "float32")],
)
def test_weights_after_three_epochs(comm: Any, backend: str, dtype: str, batch: int | str) -> None:
    """Batch 37 divides nothing; 2 is smaller than most rank counts."""
    found = train(comm, config(backend, dtype, batch))
    require_near(found, reference(batch), BOUND[dtype])
    if dtype == "float64":
        for name in ("train_accuracy", "validation_accuracy"):
            assert np.array_equal(found[1].column(name), reference(batch)[1].column(name))


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler to emulate a GPU with")
@pytest.mark.parametrize("transport", [gpu.STAGED, gpu.DIRECT])
@pytest.mark.parametrize("batch", [37, 2, "full"])
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [("cuda", "float64"), ("cuda", "float32"), ("cuda-loops", "float64")],
)
def test_weights_of_ranks_that_share_a_gpu(
    comm: Any, backend: str, dtype: str, batch: int | str, transport: str
) -> None:
    """The weights are those of the host; a step is two graphs, or one on a single rank."""
    on, device = emulated_gpu(comm, transport)
    require_near(train(comm, config(backend, dtype, batch), on=on), reference(batch), BOUND[dtype])
    steps = 3 * -(-100 // batch) if isinstance(batch, int) else 3
    if comm.size == 1:
        assert device.graphs == steps
    else:  # a rank without rows has no gradient to compute
        assert steps <= device.graphs <= 2 * steps


def is_noticed(comm: Any, settings: RunConfig, transport: str) -> bool:
    """Return whether the run sees that its ranks differ, or its weights are not those expected."""
    on, _ = emulated_gpu(comm, transport)
    try:
        parts, _ = train(comm, settings, on=on)
    except ReplicaError:
        return True
    return not distance(parts, reference(37)[0]) < BOUND["float64"]


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler to emulate a GPU with")
@pytest.mark.parametrize("transport", [gpu.STAGED, gpu.DIRECT])
@pytest.mark.parametrize(
    ("reduction", "wait", "broken"),
    [
        ("allreduce", "synchronize", lambda device: None),
        ("overlap", "reached", lambda device, mark: True),
    ],
)
def test_what_is_sent_too_early_would_be_noticed(
    comm: Any, reduction: str, wait: str, broken: Any, transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The emulated stream runs as late as it may: without the wait the weights are wrong."""
    if comm.size == 1:
        return
    monkeypatch.setattr(EmulatedDevice, wait, broken)
    assert is_noticed(comm, config("cuda", "float64", 37, reduction), transport)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler to emulate a GPU with")
@pytest.mark.parametrize("transport", [gpu.STAGED, gpu.DIRECT])
@pytest.mark.parametrize(("batch", "capacity"), [(37, None), (2, None), ("full", None), (37, 4)])
def test_a_gpu_sums_layer_by_layer(
    comm: Any, batch: int | str, capacity: int | None, transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Reduction ``overlap``: a graph a layer in the last chunk, and an update, a step."""
    if capacity:
        row = make_network(config("cuda", "float64", batch), 784, 10).bytes_per_row()
        monkeypatch.setattr(context, "DEVICE_CHUNK", (capacity * row, 8192))
    on, device = emulated_gpu(comm, transport)
    found = train(comm, config("cuda", "float64", batch, "overlap"), on=on)
    require_near(found, reference(batch), BOUND["float64"])
    if comm.size > 1 and batch != 2 and not capacity:
        steps = 3 * -(-100 // batch) if isinstance(batch, int) else 3
        assert device.graphs == steps * (3 + 1)


@pytest.mark.parametrize("backend", ["loops", "gemm"])
def test_ranks_times_threads(comm: Any, backend: str) -> None:
    found = train(comm, config(backend, "float64", 37), threads=2)
    require_near(found, reference(37), BOUND["float64"])


def test_all_ranks_hold_the_same_bits(comm: Any) -> None:
    parts, _ = train(comm, config("gemm", "float32", 37))
    for part in parts:
        first = part.copy()
        comm.Bcast(first, root=0)
        assert np.array_equal(part, first)


def test_rows_are_shared_out_evenly(comm: Any) -> None:
    with planned(comm, config("gemm", "float32", 37)) as trainer:
        trainer.run(3, lambda number, epoch: None)
        rows = trainer.timing.rows
    if comm.rank == 0:
        assert rows.shape == (3, comm.size)
        assert (rows.sum(axis=1) == 100).all()
        steps = 3
        assert rows.max() - rows.min() <= steps
