"""Exact parallel minibatch gradient descent for multilayer perceptrons over MPI.

Importing the package imports neither MPI nor numba: a thousand ranks repeat every import.
"""

from hpcpgd.version import __version__

__all__ = ["__version__"]
