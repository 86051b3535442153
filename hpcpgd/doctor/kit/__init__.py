"""First contact with a cluster: a quarter of an hour of checks, and an archive of the results.

``private_names`` and ``shared_folder`` replace names in files that others may read.  It may import
all of ``doctor``.
"""
