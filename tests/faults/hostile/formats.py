"""The table of formats; each is built when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from hpcpgd.errors import ConfigError, DataError, HpcpgdError, UsageError
from tests.faults.hostile import datasets
from tests.faults.hostile.format import Format

PACKED = 3 * 1032  # a deflated byte holds at most 1032, of which a reader may have copies
PLAIN = 400  # a short cell or word as an object of Python


def _file(folder: Path) -> None:
    """Read a dataset that is the only file of a folder."""
    datasets.read(next(folder.iterdir()))


def _of(
    module: str, factor: int, *refusals: type[HpcpgdError],
    read: Callable[[Path], None] | None = None,
) -> Callable[[], Format]:  # fmt: skip
    """Return a function that builds the format of a module, whose reader may be another's."""

    def build() -> Format:
        made = import_module(f"tests.faults.hostile.{module}")
        return Format(made.cases(), read or made.read, refusals, factor)

    return build


FORMATS: dict[str, Callable[[], Format]] = {
    "idx": _of("idx", PACKED, DataError, read=datasets.read),
    "csv": _of("csvs", PACKED, DataError, read=_file),
    "npz": _of("npz", PACKED, DataError, read=_file),
    "toml": _of("tomls", PLAIN, ConfigError, UsageError),
    "checkpoint": _of("checkpoints", PLAIN, DataError, ConfigError),
    "hdf5": _of("datasets_hdf5", PACKED, DataError, read=_file),
    "run": _of("runs", PACKED, DataError),
}
