"""The table of formats; each is built when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hpcpgd.errors import ConfigError, DataError, UsageError
from tests.faults.hostile.format import Format

PACKED = 3 * 1032  # a deflated byte holds at most 1032, of which a reader may have copies
PLAIN = 400  # a short cell or word as an object of Python


def _idx() -> Format:
    from tests.faults.hostile import datasets, idx

    return Format(idx.cases(), datasets.read, (DataError,), PACKED)


def _csv() -> Format:
    from tests.faults.hostile import csvs, datasets

    def read(folder: Path) -> None:
        datasets.read(next(folder.iterdir()))

    return Format(csvs.cases(), read, (DataError,), PACKED)


def _npz() -> Format:
    from tests.faults.hostile import datasets, npz

    return Format(
        npz.cases(), lambda folder: datasets.read(folder / "data.npz"), (DataError,), PACKED
    )


def _toml() -> Format:
    from tests.faults.hostile import tomls

    return Format(tomls.cases(), tomls.read, (ConfigError, UsageError), PLAIN)


def _checkpoint() -> Format:
    from tests.faults.hostile import checkpoints

    return Format(
        checkpoints.cases(), checkpoints.read, (DataError, ConfigError), PLAIN, libhdf5=True
    )


def _hdf5() -> Format:
    from tests.faults.hostile import datasets, datasets_hdf5

    def read(folder: Path) -> None:
        datasets.read(folder / "data.h5")

    return Format(datasets_hdf5.cases(), read, (DataError,), PACKED, libhdf5=True)


def _run() -> Format:
    from tests.faults.hostile import runs

    return Format(runs.cases(), runs.read, (DataError,), PACKED, libhdf5=True)


FORMATS: dict[str, Callable[[], Format]] = {
    "idx": _idx, "csv": _csv, "npz": _npz, "toml": _toml,
    "checkpoint": _checkpoint, "hdf5": _hdf5, "run": _run,
}  # fmt: skip
