"""``hpcpgd info`` and ``hpcpgd compare``: show one run file, and how two differ.

May import ``results`` and what lies below it; no MPI, no numba.
"""
