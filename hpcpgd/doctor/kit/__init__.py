"""First contact with a cluster: try what matters in a quarter of an hour, and pack the results.

``private_names`` and ``shared_folder`` guard what is passed on.  May import all of ``doctor``.
"""
