"""What a study will cost, before it is run: operations, seconds, memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpcpgd.data.dataset import Dataset, splits_of
from hpcpgd.engines.parameters import make_network
from hpcpgd.kernels.backends.registry import BACKENDS, TILE_PARTS
from hpcpgd.kernels.core.network import Network
from hpcpgd.study.grid import Point
from hpcpgd.train.load_dataset import load_dataset

START_SECONDS = 3.0  # of a run: launcher, MPI, imports, kernels from the cache


@dataclass(frozen=True)
class Cost:
    """The cost of one run of a point.

    Attributes
    ----------
    gflop : float
        10⁹ floating-point operations of all epochs' products.
    seconds : float
        Expected, from assumed rates; NaN for products on AMX tiles, for which none is assumed.
    nbytes : int
        Of all ranks together: datasets, parameters, gradients and buffers.
    rows : int
        Training rows of an epoch.
    slice_flops : float
        Operations of a rank's slice of a minibatch.
    """

    gflop: float
    seconds: float
    nbytes: int
    rows: int
    slice_flops: float


class Costs:
    """Costs of points; each dataset is read once."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._shapes: dict[tuple[object, ...], tuple[int, int, int, int]] = {}

    def of(self, point: Point) -> Cost:
        """Return the cost of one run.

        Raises
        ------
        DataError
            If its dataset is missing or bad.
        """
        config = point.config
        rows, n_in, n_out, nbytes = self._shape(point)
        network = make_network(config, n_in, n_out)
        batch = rows if config.batch_size == "full" else min(int(config.batch_size), rows)
        examples = rows * config.epochs
        if config.max_steps != "none":
            examples = min(examples, int(config.max_steps) * batch)
        gflop = network.flops_per_example * examples / 1e9
        each = -(-batch // point.ranks)
        memory = point.ranks * (nbytes + _buffers(network, each))
        backend = BACKENDS[config.backend]
        if config.matmul_precision in TILE_PARTS:
            rate = math.nan
        elif backend.on_device:
            rate = backend.gflops
        else:
            threads = self._cores if config.threads == "auto" else int(config.threads)
            rate = backend.gflops * min(point.ranks * threads, self._cores)
        seconds = START_SECONDS + gflop / rate
        return Cost(gflop, seconds, memory, rows, network.flops_per_example * each)

    def _shape(self, point: Point) -> tuple[int, int, int, int]:
        """Return training rows, inputs, classes and bytes of a point's dataset."""
        c = point.config
        options = (c.label_column, c.standardise, c.dtype if c.standardise else "")
        key = (c.dataset, c.train_rows, c.test_fraction, c.seed, *options)
        if key not in self._shapes:
            dataset = load_dataset(c)
            shape = (dataset.train.rows, dataset.n_in, dataset.n_out, _bytes(dataset))
            self._shapes[key] = shape
        return self._shapes[key]


def _bytes(dataset: Dataset) -> int:
    splits = splits_of(dataset).values()
    return sum(split.features.nbytes + split.labels.nbytes for split in splits)


def _buffers(network: Network, rows: int) -> int:
    return 2 * network.size * network.itemsize + rows * network.bytes_per_row()
