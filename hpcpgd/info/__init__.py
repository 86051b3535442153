"""``hpcpgd info``: a run file as a page.

May import ``results`` and what lies below it; no MPI, no numba.
"""
