"""``hpcpgd train``: one run, from the command line to its run file.

``job`` starts and ends all ranks together, ``session`` is the course of a run on each of them,
``training_loop`` its epochs.  May import ``checkpoint`` and what lies below it.
"""
