"""Random data of any size, for clusters without data or network; labels have no meaning."""

from __future__ import annotations

import re

import numpy as np

from hpcpgd.data import guard
from hpcpgd.data.dataset import RawData, Split
from hpcpgd.data.rng_streams import STREAM_SYNTHETIC
from hpcpgd.errors import UsageError

_NAME = re.compile(r"synthetic:([1-9]\d{0,17})x([1-9]\d{0,17})x([1-9]\d{0,8})", re.ASCII)


def parse(name: str) -> tuple[int, int, int]:
    """Return rows, inputs and classes from ``synthetic:ROWSxINxOUT``.

    Raises
    ------
    UsageError
        If the name has another form.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(
            f"malformed dataset {name!r}: expected synthetic:ROWSxINxOUT with three positive"
            " integers, for example synthetic:60000x784x10"
        )
    rows, n_in, n_out = (int(group) for group in match.groups())
    return rows, n_in, n_out


def load(name: str, seed: int) -> RawData:
    """Return random uint8 pixels and labels, the same on every machine.

    Parameters
    ----------
    name : str
        ``synthetic:ROWSxINxOUT``.
    seed : int
        0 to 2**63 - 1.

    Raises
    ------
    UsageError
        If the name is malformed.
    DataError
        If the data do not fit in memory.
    """
    rows, n_in, n_out = parse(name)
    guard.ensure_fits(rows * n_in + 20 * rows, name)
    # Raw bits: NEP 19 guarantees that they stay the same, unlike distributions.
    bits = np.random.Philox(key=np.array([seed, STREAM_SYNTHETIC], np.uint64))
    labels = (bits.random_raw(rows) % np.uint64(n_out)).astype(np.int32)
    words = np.asarray(bits.random_raw(-(-rows * n_in // 8)), "<u8")
    features = words.view(np.uint8)[: rows * n_in].reshape(rows, n_in)
    return RawData(name, Split(features, labels), None, None, n_out, 1 / 255, 0.0, False)
