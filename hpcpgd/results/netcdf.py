"""Variables of an HDF5 file with netCDF dimensions."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

TEXT = h5py.string_dtype()


def put(group: Any, name: str, dims: tuple[str, ...], data: Any, **attributes: str) -> None:
    """Create a variable; texts are stored as UTF-8 of variable length, booleans as 0 and 1."""
    texts = len(data) > 0 and isinstance(data[0], str)
    array = np.array(data, object) if texts else np.asarray(data)
    if array.dtype == bool:  # which netCDF does not know
        array = array.astype(np.int8)
    variable = group.create_variable(name, dims, TEXT if texts else array.dtype)
    variable[...] = array
    for key, value in attributes.items():
        variable.attrs[key] = value
