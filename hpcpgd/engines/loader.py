"""Bring rows of a dataset into the buffers of a plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpcpgd.data import Dataset, Split
from hpcpgd.kernels.core.elementwise import gather, gather_labels
from hpcpgd.kernels.core.workspace import Workspace


@dataclass(frozen=True)
class Loader:
    """Copies rows to a workspace as scaled numbers; pixels stay ``uint8`` in memory."""

    work: Workspace
    scale: np.floating
    offset: np.floating

    def load(self, split: Split, numbers: npt.NDArray[np.int64]) -> None:
        """Copy rows ``numbers`` (B,) of ``split`` and their labels; B <= capacity."""
        gather(split.features, numbers, self.scale, self.offset, self.work.inputs)
        gather_labels(split.labels, numbers, self.work.labels)


def make_loader(dataset: Dataset, work: Workspace) -> Loader:
    """Return a loader that scales as ``dataset`` says, in the workspace's number type."""
    real = np.dtype(work.network.dtype).type
    return Loader(work, real(dataset.scale), real(dataset.offset))
