"""The one way in which this package compiles its loops.

``contract`` allows fused multiply-add and nothing else; ``reassociated`` also lets a sum be
vectorised.  Neither assumes that NaN or Inf never occur.  Division follows IEEE 754, as in
NumPy: a check for zero in every loop would forbid vector instructions.
"""

from functools import partial

from numba import njit

compiled = partial(njit, nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
reassociated = partial(
    njit, nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
)
