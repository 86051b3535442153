"""A GPU: its memory through CuPy, products through cuBLAS, CUDA sources, what backends share.

May import ``core``.
"""
