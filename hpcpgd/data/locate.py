"""Where the datasets with known names are on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hpcpgd.data import idx_names
from hpcpgd.environment.user_dirs import user_cache
from hpcpgd.errors import DataError

_SYSTEM = {"fashion-mnist": Path("/usr/share/datasets/fashion-mnist")}  # Debian's package
_CURE = {
    "mnist": "run `python -m hpcpgd.data fetch mnist`",
    "fashion-mnist": "install Debian's package dataset-fashion-mnist",
}
NAMED = tuple(_CURE)


def user_folders(name: str) -> list[Path]:
    """Return the user's folders for a dataset, the preferred one first.

    They are ``$HPCPGD_DATA/<name>``, then ``hpcpgd/<name>`` in the user's cache.  A user
    without a home folder has no cache.
    """
    data = os.environ.get("HPCPGD_DATA")
    bases = (Path(data) if data else None, user_cache())
    return [base / name for base in bases if base is not None]


def locate(name: str) -> Path:
    """Return the first folder that holds all four files of a named dataset.

    Raises
    ------
    DataError
        If no folder does; the message lists the folders and how to get the data.
    """
    folders = user_folders(name)
    if name in _SYSTEM:
        folders.append(_SYSTEM[name])
    for folder in folders:
        with suppress(DataError):
            if "test" in idx_names.pairs(folder):
                return folder
    looked = ", ".join(str(folder) for folder in folders) or "no folder: no home folder"
    raise DataError(
        f"{name}: not found (looked in {looked}): {_CURE[name]},"
        f" or put its four IDX files in $HPCPGD_DATA/{name}"
    )
