"""The console command ``hpcpgd``: which command it starts, the launcher, how errors are said.

``quantities`` shows numbers.  May import ``environment`` and ``errors``; no NumPy, numba, MPI.
"""
