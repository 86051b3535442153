"""What surrounds a process: its memory limits, the user's folders, the batch system, our revision.

May import ``errors`` alone, as every other room asks it; no MPI, no numba.
"""
