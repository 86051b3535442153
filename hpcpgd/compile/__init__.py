"""``hpcpgd compile``: fill the kernel cache before jobs start.

May import ``train`` and what lies below it.
"""
