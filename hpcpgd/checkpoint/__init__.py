"""Checkpoints: all that a run needs to go on as if nothing had happened.

May import ``results`` and what lies below it.
"""
