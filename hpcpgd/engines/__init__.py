"""One rank's arithmetic over its rows of a minibatch: on the host or on a GPU.

An engine hands rows to a plan of ``kernels``.  May import ``machine`` and what lies below it.
"""
