"""``hpcpgd predict``: the network of a run file, applied to the rows of a dataset.

``hpcpgd export`` writes that network for other programs, without MPI.

May import ``train`` and what lies below it.
"""
