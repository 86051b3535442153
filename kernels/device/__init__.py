"""A GPU: memory through CuPy, products through cuBLAS, CUDA sources, the plans' base class.

May import ``core``.
"""
