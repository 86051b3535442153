"""The arithmetic: pure functions on arrays.  No MPI, no files but compiled kernels, no options.

The rooms from the top: ``backends``, ``device`` (a GPU), ``schedule`` (who computes what), ``blas``
and ``core``.  May import nothing of the rest of the package.
"""
