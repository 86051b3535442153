"""Changes of HDF5 files that tests make, as functions of an open file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py

Change = Callable[[h5py.File], object]


def instead(name: str, *value: Any, **options: Any) -> Change:
    """Put a value, a link, a dataset with ``options`` or else a group in the place of ``name``."""

    def apply(file: h5py.File) -> None:
        del file[name]
        if options:
            file.create_dataset(name, *value, **options)
        elif value:
            file[name] = value[0]
        else:
            file.create_group(name)

    return apply


def virtual(name: str, shape: tuple[int, ...]) -> Change:
    """Put a dataset whose values are in another file in the place of ``name``."""
    layout = h5py.VirtualLayout(shape, "f8")
    layout[:] = h5py.VirtualSource("other.h5", "t", shape)

    def apply(file: h5py.File) -> None:
        del file[name]
        file.create_virtual_dataset(name, layout)

    return apply
