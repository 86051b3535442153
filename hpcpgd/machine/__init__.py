"""What a rank may use of its machine: cores, GPU, BLAS, memory and the kernel cache.

It may import ``kernels``, ``parallel`` and the rooms below ``parallel``.
"""
