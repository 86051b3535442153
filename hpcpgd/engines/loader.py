"""Copy rows of a dataset into the buffers of a plan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpcpgd.data import Dataset, Split
from hpcpgd.kernels.core.elementwise import gather, gather_labels
from hpcpgd.kernels.core.workspace import Workspace

Scaling = tuple[np.floating, np.floating]  # factor and offset


def scaling_of(dataset: Dataset, dtype: str) -> Scaling:
    """Return the factor and offset that scale stored numbers to inputs, as ``dtype``."""
    real = np.dtype(dtype).type
    return real(dataset.scale), real(dataset.offset)


def load_rows(
    split: Split, numbers: npt.NDArray[np.int64], scaling: Scaling, work: Workspace
) -> None:
    """Copy rows ``numbers``, shape (B,), of ``split``, scaled, and their labels; B <= capacity.

    The dataset itself stays as it is stored, such as pixels in ``uint8``.
    """
    gather(split.features, numbers, *scaling, work.inputs)
    gather_labels(split.labels, numbers, work.labels)
