"""Reduction ``allreduce``: one in-place Allreduce of each rank's partial gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcpgd import mpi
from hpcpgd.clock import COMPUTE, DATA, UPDATE, PhaseClock
from hpcpgd.data import Split
from hpcpgd.kernels import Plan
from hpcpgd.kernels.elementwise import descend
from hpcpgd.kernels.network import Array
from hpcpgd.loader import Loader
from hpcpgd.sampler import Sampler


class AllreduceStep:
    """One step of algorithm 5: partial sums, their sum over the ranks, the update.

    Parameters
    ----------
    comm : Comm
    plan : Plan
        The backend; its buffers hold one chunk of this rank's slice.
    loader : Loader
    sampler : Sampler
    parameters : ndarray, shape (size,)
        Flat vector, the same on all ranks, updated in place.
    clock : PhaseClock
    """

    def __init__(
        self,
        comm: Any,
        plan: Plan,
        loader: Loader,
        sampler: Sampler,
        parameters: Array,
        clock: PhaseClock,
    ) -> None:
        self._comm = comm
        self._plan = plan
        self._loader = loader
        self._sampler = sampler
        self._parameters = parameters
        self._clock = clock
        self._gradient = plan.network.zeros()
        self._numbers = np.zeros(plan.work.capacity, np.int64)
        self._real = np.dtype(plan.network.dtype).type

    def step(self, train: Split, epoch: int, step: int, rate: float) -> bool:
        """Make minibatch ``step`` (from 0) of ``epoch`` (from 1); collective.

        The sum over all examples is divided once, by their global number: uneven slices
        and empty ones give the exact serial gradient.

        Returns
        -------
        bool
            False, on every rank, if NaN or Inf stood in the summed gradient.
        """
        comm, clock = self._comm, self._clock
        start, stop = self._sampler.minibatch(step)
        begin, end = self._sampler.slice(step, comm.size, comm.rank)
        clock.begin_step(end - begin)
        self._partial(train, epoch, begin, end)
        mpi.sum_in_place(comm, self._gradient)
        clock.lap_reduction()
        finite = descend(self._parameters, self._gradient, self._real(rate / (stop - start)))
        clock.lap(UPDATE)
        return bool(finite)

    def _partial(self, train: Split, epoch: int, begin: int, end: int) -> None:
        """Sum the gradient over this rank's slice, chunk by chunk."""
        if begin == end:
            self._gradient[:] = 0
            self._clock.lap(COMPUTE)
        for first in range(begin, end, self._plan.work.capacity):
            numbers = self._numbers[: min(self._plan.work.capacity, end - first)]
            self._sampler.numbers(epoch, first, numbers)
            self._loader.load(train, numbers)
            self._clock.lap(DATA)
            self._plan.gradient(self._parameters, numbers.size, self._gradient, first > begin)
            self._clock.lap(COMPUTE)
