"""Exact parallel minibatch gradient descent for multilayer perceptrons over MPI.

Importing the package imports neither MPI nor numba: a thousand ranks repeat every import.
"""

from importlib import import_module
from typing import Any

from hpcpgd.version import __version__

LATER = {
    **dict.fromkeys(("read_run", "read_study"), "hpcpgd.results.data_tree"),
    **dict.fromkeys(("MLPClassifier", "MLPRegressor"), "hpcpgd.estimators.mlp"),
    "fit": "hpcpgd.estimators.fit",
}
__all__ = ["__version__", "fit", "read_run", "read_study"]


def __getattr__(name: str) -> Any:
    """Return what is in ``LATER``, whose libraries are imported only then."""
    if name in LATER:
        return getattr(import_module(LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
