"""The common setting of all contestants: network, data, minibatches and initial weights."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hpcpgd.config.run_config import NETWORKS
from hpcpgd.data import Dataset, load, prepare
from hpcpgd.data.sampler import Sampler
from hpcpgd.engines.parameters import initial_parameters
from hpcpgd.kernels.core.network import Array, Network

SEED = 0
RATE = 0.01
EXAMPLES = 60_000  # times are given for this many examples
DATA = "synthetic:60000x784x10"  # uint8 pixels in MNIST's shape


def load_data(name: str = DATA) -> Dataset:
    """Return a dataset, by default random pixels and labels in MNIST's shape."""
    return prepare(load(name, seed=SEED), seed=SEED, train_rows=None, test_fraction=None)


def make_network(name: str) -> Network:
    """Return the network ``net-1h`` or ``net-2h`` in float32."""
    return Network((784, *NETWORKS[name], 10))


@dataclass(frozen=True)
class Setting:
    """One network and batch size on the ranks of ``comm``.

    Attributes
    ----------
    comm : Comm
        The ranks that share a step.
    batch : int
        Rows of a minibatch over all ranks.
    blas : Blas or MatmulStandIn
    threads : ExitStack
        Ends the threads of the runners for this setting.
    """

    comm: Any
    dataset: Dataset
    network: Network
    batch: int
    blas: Any
    threads: ExitStack = field(default_factory=ExitStack)

    @property
    def steps(self) -> int:
        """Number of full minibatches of an epoch; a smaller last one is left out."""
        return self.dataset.train.rows // self.batch

    def parameters(self) -> Array:
        """Return a new vector of the initial weights, the same for all contestants."""
        return initial_parameters(self.network, SEED)

    def first_rows(self) -> npt.NDArray[np.int64]:
        """Return the row numbers of the first minibatch."""
        numbers = np.zeros(self.batch, np.int64)
        Sampler(self.dataset.train.rows, self.batch, SEED).numbers(1, 0, numbers)
        return numbers
