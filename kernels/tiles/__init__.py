"""Products of float32 matrices on the tiles of processors with AMX, from bfloat16 parts.

May import ``core``.
"""
