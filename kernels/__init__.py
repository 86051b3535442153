"""The arithmetic: pure functions on arrays.  No MPI, no options, no files but compiled kernels.

From the top: ``backends``, ``device`` (a GPU), ``schedule`` (which worker computes which unit),
``blas`` and ``core``.  May import nothing of the rest of the package.
"""
