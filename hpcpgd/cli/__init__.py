"""The console command ``hpcpgd``, the parser of all commands, the launcher, error messages.

``quantities`` formats numbers.  May import ``environment`` and ``errors``; no NumPy, numba, MPI.
"""
