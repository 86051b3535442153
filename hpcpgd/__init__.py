"""Exact parallel minibatch gradient descent for multilayer perceptrons over MPI.

Importing the package imports neither MPI nor numba: on a thousand ranks every import
is paid a thousand times.
"""

from hpcpgd.version import __version__

__all__ = ["__version__"]
