"""What a rank may use of its machine: cores, GPU, BLAS, memory, and the cache of kernels.

May import ``parallel`` and what lies below it, and ``kernels``.
"""
