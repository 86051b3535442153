"""Shared by all kernels: the network, its buffers, elementwise loops, and how loops are compiled.

May import nothing else of the package.
"""
