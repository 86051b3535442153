"""What all kernels share: the network, its buffers, elementwise loops, and how loops are compiled.

May import no other room.
"""
