"""Which rows make up which minibatch: a pure function of seed, epoch and position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcpgd.data.rng_streams import STREAM_ORDER
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.core.permutation import key, permuted_range


@dataclass(frozen=True)
class Sampler:
    """Minibatches of ``batch_size`` out of ``rows`` training rows, in a new order each epoch.

    The last minibatch of an epoch is smaller if ``batch_size`` does not divide ``rows``: every
    row is used exactly once an epoch.  No method is collective: all ranks compute the same
    minibatches, those of any step in constant time and memory.
    """

    rows: int
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Minibatches of an epoch."""
        return -(-self.rows // self.batch_size)

    def minibatch(self, step: int) -> tuple[int, int]:
        """Return the positions (start, stop) of minibatch ``step`` (from 0) of any epoch."""
        start = step * self.batch_size
        return start, min(start + self.batch_size, self.rows)

    def slice(self, step: int, size: int, rank: int) -> tuple[int, int]:
        """Return the positions of minibatch ``step`` that ``rank`` of ``size`` works on."""
        start, stop = self.minibatch(step)
        first, last = block_range(stop - start, size, rank)
        return start + first, start + last

    def numbers(self, epoch: int, start: int, out: npt.NDArray[np.int64]) -> None:
        """Write the row numbers at positions ``start …`` of ``epoch`` (from 1) to ``out``."""
        permuted_range(self.rows, self.seed, STREAM_ORDER, epoch, start, out)

    def key(self, epoch: int) -> int:
        """Return the key of the order of ``epoch`` (from 1), for permutations in other code."""
        return key(self.seed, STREAM_ORDER, epoch)
