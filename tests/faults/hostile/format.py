"""A format in the check of hostile files: strategies for files, a reader, and its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis.strategies import SearchStrategy

from hpcpgd.errors import HpcpgdError

Files = dict[str, bytes]  # names in the folder of a case, and contents


class UnsoundError(Exception):
    """A reader accepted a file and returned what it must not."""


@dataclass(frozen=True)
class Format:
    """A kind of file that others may have made.

    Attributes
    ----------
    read : callable
        Reads the files of a folder; raises `UnsoundError` if what it finds is no valid object.
    refusals : tuple of exception classes
        The documented errors.
    factor : int
        Bytes of memory that a byte of the files may cost.
    """

    cases: SearchStrategy[Files]
    read: Callable[[Path], None]
    refusals: tuple[type[HpcpgdError], ...]
    factor: int
