"""Ranks: MPI and its start and end, groups that share memory, stopping, and who hangs.

``mpi`` is the one module that imports mpi4py.  May import ``config`` and what lies below it.
"""
