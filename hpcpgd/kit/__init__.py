"""First contact with a cluster: try what matters in a quarter of an hour, and pack what came out.

What is passed on goes through one door, ``share.Share``, which replaces names and paths.
"""
