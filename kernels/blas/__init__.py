"""A BLAS library, found and called from compiled code, and a substitute for one.

Products of few rows are computed without it.

May import ``core``.
"""
