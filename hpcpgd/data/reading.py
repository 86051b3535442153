"""The result of a reader, the same for every format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcpgd.data.array_names import Keys, recognise
from hpcpgd.data.checks import Named, numeric
from hpcpgd.errors import DataError

ARRAYS = "<arrays>"  # the name of a dataset that a Python program holds; no file is called so
Parts = Mapping[str, tuple[Named, Named]]


@dataclass(frozen=True)
class Reading:
    """The arrays of a file, and what was inferred to read them.

    Attributes
    ----------
    parts : mapping of str to (Named, Named)
        For ``train`` and, if present, ``validation`` and ``test``: features of shape
        (rows, ...) and labels of shape (rows,), (rows, 1) or one-hot (rows, classes).
    notes : tuple of str
        What was inferred, for the first lines of a run and for the run file.
    class_names : tuple of str
        The names of classes 0, 1 and so on, empty if the labels are numbers.
    labelled : bool
        False if there are no labels; zeros are in their place.
    """

    parts: Parts
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    labelled: bool = True


def reading_of(
    arrays: Mapping[str, Named], keys: Keys, notes: Sequence[str], names: tuple[str, ...]
) -> Reading:
    """Return the reading of arrays by their keys, ``x_train`` and so on."""
    parts = {}
    for part in keys.parts:
        x = arrays[f"x_{part}"]
        zeros = Named(np.zeros(x.array.shape[:1], np.int32), x.source)
        parts[part] = (x, arrays.get(f"y_{part}", zeros))
    return Reading(parts, tuple(notes), names, keys.labelled)


def reading_of_program(arrays: Mapping[str, Any] | None) -> Reading:
    """Return the reading of arrays that a Python program holds; a `DataError` if they are wrong."""
    if arrays is None:
        raise DataError(f"dataset {ARRAYS}: was in the memory of a Python program: name a file")
    keys, named = recognise([*arrays], ARRAYS), {}
    for key, name in keys.arrays.items():
        try:  # a copy of an array that must not be written to: kernels are compiled for others
            named[key] = Named(np.require(arrays[name], requirements="W"), name)
        except ValueError:
            raise DataError(f"{name}: its rows are not equally long: expected an array") from None
        numeric(named[key].array.dtype, name, words=key[0] == "y")
    return reading_of(named, keys, keys.notes, ())
