"""The result of a reader, the same for every format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpcpgd.data.checks import Named

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
    """

    parts: Parts
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
