"""A BLAS library, found and called from compiled code, and what stands in for one.

May import ``core``.
"""
