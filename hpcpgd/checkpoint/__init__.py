"""Checkpoints: all that a run needs to continue as if it had never been stopped.

May import ``results`` and what lies below it.
"""
