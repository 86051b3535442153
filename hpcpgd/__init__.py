"""Exact parallel minibatch gradient descent for multilayer perceptrons over MPI.

Importing the package imports neither MPI nor numba: a thousand ranks repeat every import.
"""

from importlib import import_module
from typing import Any

from hpcpgd.version import __version__

__all__ = ["__version__", "read_run", "read_study"]


def __getattr__(name: str) -> Any:
    """Return ``read_run`` or ``read_study``, whose libraries are imported only then."""
    if name in ("read_run", "read_study"):
        return getattr(import_module("hpcpgd.results.data_tree"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
