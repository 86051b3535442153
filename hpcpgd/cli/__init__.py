"""The console command ``hpcpgd``: which command it starts, how errors are said, the launcher.

May import ``environment`` and ``errors``; no NumPy, no numba, no MPI.
"""
