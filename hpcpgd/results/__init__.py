"""Result files: self-describing HDF5, written whole or not at all.

May import ``reductions`` and what lies below it.
"""
