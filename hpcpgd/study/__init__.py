"""Scaling studies: plan, run, collect, report; the learning rate's selection.

``paper`` is the paper's own study, ``slurm`` studies on a cluster, ``libraries`` the programs of
others.  May import ``train`` and what lies below it.
"""
