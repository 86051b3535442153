"""The handwritten digits that come with the package: images of 8x8 pixels, values 0 to 16."""

from __future__ import annotations

from importlib import resources

import numpy as np

from hpcpgd.data import guard
from hpcpgd.data.dataset import RawData, Split
from hpcpgd.data.rng_streams import DIGITS_KEY, STREAM_DIGITS

TRAIN_ROWS = 1500  # of 1797; the other 297 are the test set
N_CLASSES = 10
SCALE = 1 / 16


def load(name: str) -> RawData:
    """Return the digits in their fixed order: 1500 rows to train with, 297 to test.

    Raises
    ------
    DataError
        If the package's own file is damaged.
    """
    from hpcpgd.kernels.core.permutation import permutation  # numba is slow to import

    file = resources.files("hpcpgd.data") / "digits.npz"
    with (
        guard.refuse_bad_file(str(file)),
        file.open("rb") as stream,
        np.load(stream, allow_pickle=False) as arrays,
    ):
        everything = Split(arrays["images"], arrays["labels"].astype(np.int32))
    order = permutation(everything.rows, DIGITS_KEY, STREAM_DIGITS)
    train, test = (everything.take(rows) for rows in np.split(order, [TRAIN_ROWS]))
    return RawData(name, train, None, test, N_CLASSES, SCALE, 0.0, True)
