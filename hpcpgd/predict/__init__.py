"""``hpcpgd predict``: the network of a run file, applied to the rows of a dataset.

May import ``train`` and what lies below it.
"""
