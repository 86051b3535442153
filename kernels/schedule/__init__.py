"""A step divided over workers: its phases, the commands, the threads and their barrier.

May import ``blas`` and ``core``.
"""
