"""The one way in which this package compiles its loops.

By IEEE 754 to the letter: no sum is reordered, nothing is fused but what the code fuses
itself (see ``arithmetic``), NaN and Inf are never assumed away.  Division follows NumPy: a
check for zero in every loop would forbid vector instructions.  ``reassociated`` lets a sum
be vectorised; it is for sums whose bits nobody sees.
"""

from functools import partial

from numba import njit

compiled = partial(njit, nogil=True, cache=True, error_model="numpy")
reassociated = partial(
    njit, nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz"}
)
