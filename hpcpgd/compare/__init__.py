"""``hpcpgd compare``: in what two run files differ.

May import ``info``, ``results`` and what lies below; no MPI, no numba.
"""
