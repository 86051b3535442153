"""A BLAS library, found and called from compiled code, and a substitute for one.

May import ``core``.
"""
