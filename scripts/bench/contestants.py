"""Programs that make training steps, with one interface.

A contestant has a name and creates a ``Runner`` for a setting and a number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import RunConfig
from hpcpgd.engines.host_engine import HostEngine
from hpcpgd.kernels.core.network import Array
from hpcpgd.machine.gpu import Gpu
from hpcpgd.machine.resources import Resources
from hpcpgd.parallel import mpi
from hpcpgd.parallel.groups import Arena, make_group
from hpcpgd.reductions.allreduce import Allreduce
from hpcpgd.train.planning import make_trainer
from hpcpgd.train.training_loop import Trainer
from hpcpgd.train.warmup import warm_up
from scripts.bench import cloops
from scripts.bench.setting import RATE, SEED, Setting
from scripts.bench.work import Spent

# A power of two: the gradient, computed from a step with this gain, loses none of its digits.
GAIN = 2.0**20


class Runner(Protocol):
    """A contestant for one setting; every method is collective over the setting's ranks."""

    def run(self, steps: int) -> Spent | None:
        """Make training steps."""

    def gradient(self) -> Array:
        """Return the summed gradient of the first minibatch at the initial weights.

        float64, in the layout of the setting's network.
        """


@dataclass(frozen=True)
class Contestant:
    """A name, and how to create a runner for a setting and a number of threads.

    Attributes
    ----------
    loss : str
        The loss that it minimises, with whose gradient its gradient is compared.
    note : str
        What readers of its times must know.
    collective : bool
        Whether all ranks must create it at the same time.
    tolerance : float
        Relative error that its gradient may have.
    """

    name: str
    make: Callable[[Setting, int], Runner]
    loss: str = "mse"
    note: str = ""
    collective: bool = False
    # Errors of float32 over 1,024 examples are below a hundredth of it.
    tolerance: float = 1e-4


class ProgramRunner:
    """The step of the training loop: gather, gradient, Allreduce, update."""

    def __init__(self, setting: Setting, trainer: Trainer) -> None:
        self._setting = setting
        self._trainer = trainer
        self._made = 0
        warm_up(trainer)

    def run(self, steps: int) -> None:
        """Make training steps, one epoch after the other."""
        trainer = self._trainer
        for number in range(self._made, self._made + steps):
            epoch, step = divmod(number, self._setting.steps)
            if not trainer.reduction.step(epoch + 1, step, RATE):
                raise ArithmeticError("NaN or Inf in the gradient of a benchmark's step")
        self._made += steps

    def gradient(self) -> Array:
        """Compute the gradient from the change of the weights in a step like those timed."""
        trainer, batch = self._trainer, self._setting.batch
        parameters = trainer.engine.parameters
        before = parameters.astype(np.float64)
        trainer.reduction.step(1, 0, GAIN * batch)
        gradient = (before - parameters) / GAIN
        self._setting.comm.Barrier()  # ranks may share parameters: all must have read them
        parameters[:] = before
        self._setting.comm.Barrier()
        return np.asarray(gradient)


def make_trainer_of(
    backend: str,
    setting: Setting,
    threads: int,
    reduction: str = "allreduce",
    gpu: Gpu | None = None,
    **options: Any,
) -> Trainer:
    """Return a trainer; ``setting.threads`` ends its threads before MPI frees its windows."""
    config = RunConfig(
        backend=backend, batch_size=setting.batch, seed=SEED, dtype="float32",
        reduction=reduction, **{"learning_rate": RATE, **options},
    )  # fmt: skip
    arena = None
    if REDUCTIONS[reduction].grouped:
        ranks = mpi.join(setting.comm)
        arena = Arena(ranks, make_group(ranks, None))
    trainer = make_trainer(
        setting.comm, config, setting.dataset, setting.network, setting.parameters(),
        Resources(threads, False, setting.blas, gpu), arena=arena,
    )  # fmt: skip
    return setting.threads.enter_context(closing(trainer))


def program(
    backend: str, reduction: str, setting: Setting, threads: int, **options: Any
) -> ProgramRunner:
    """Return a runner of the training loop's steps."""
    trainer = make_trainer_of(backend, setting, threads, reduction, **options)
    runner = ProgramRunner(setting, trainer)
    trainer.reduction.prepare()
    return runner


def _compiled_c(flags: tuple[str, ...], setting: Setting, threads: int) -> Runner:
    """Return a runner with the C loops in place of the numba loops, otherwise the same step."""
    trainer = make_trainer_of("loops", setting, threads)
    plan = cloops.Plan(setting.network, trainer.engine.capacity, flags)
    reduction = Allreduce(trainer.context, HostEngine(trainer.context, plan))
    return ProgramRunner(setting, replace(trainer, reduction=reduction))


GEMM = Contestant("gemm", partial(program, "gemm", "allreduce"))
WITH_REDUCTION = {
    name: Contestant(f"gemm {name}", partial(program, "gemm", name), collective=True)
    for name in ("allreduce", "overlap", "shared", "reproducible")
}
BF16_ERROR = 0.01  # of a gradient from products of bfloat16, which has 8 bits; 0.003 was measured


def _tiled(precision: str, tolerance: float) -> list[Contestant]:
    """Return the training program with products of a precision: on one core, on two ranks."""
    make = partial(program, "gemm", matmul_precision=precision)
    one = Contestant(f"gemm {precision}", partial(make, "allreduce"), tolerance=tolerance)
    return [one] + [
        replace(one, name=f"gemm {name} {precision}", make=partial(make, name), collective=True)
        for name in ("shared", "reproducible")
    ]


TILED = {
    "bf16": _tiled("bf16", BF16_ERROR), "bf16x6": _tiled("bf16x6", GEMM.tolerance)
}  # fmt: skip
LOOPS = Contestant("loops", partial(program, "loops", "allreduce"))
C_LOOPS = tuple(
    Contestant(f"C {' '.join(flags)}", partial(_compiled_c, flags))
    for flags in (("-O2",), ("-O3", "-march=native"))
)
