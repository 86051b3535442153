"""What must hold of a dataset that a reader accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcpgd.data.dataset import Split
from hpcpgd.data.info import describe
from hpcpgd.data.load import load
from tests.faults.hostile.format import UnsoundError


def read(path: Path) -> None:
    """Read a dataset and describe it, as ``hpcpgd data info`` does."""
    raw = load(str(path), seed=0)
    describe(raw)
    columns, dtype = raw.train.features.shape[1], raw.train.features.dtype
    if not raw.train.rows or raw.n_out < 2:
        raise UnsoundError(f"{raw.train.rows} rows of {raw.n_out} classes")
    for split in (raw.train, raw.validation, raw.test):
        if split is not None and not _sound(split, columns, raw.n_out, dtype):
            raise UnsoundError(f"features {split.features!r}, labels {split.labels!r}"[:300])


def _sound(split: Split, columns: int, classes: int, dtype: np.dtype) -> bool:
    x, y = split.features, split.labels
    return (
        x.dtype == dtype and dtype in (np.uint8, np.float32, np.float64) and dtype.isnative
        and x.flags.c_contiguous and x.shape == (len(y), columns) and columns > 0
        and y.dtype == np.int32 and y.dtype.isnative and y.ndim == 1
        and bool(np.isfinite(x).all() and (y >= 0).all() and (y < classes).all())
    )  # fmt: skip
