"""A GPU: its memory and products through CuPy, the CUDA sources, what its backends share.

May import ``core``.
"""
