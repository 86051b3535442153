"""A step divided over workers: the commands of each, the threads that execute them, their barrier.

May import ``blas`` and ``core``.
"""
