"""The configuration of a run: its options, their types, the command line, TOML, which go together.

May import ``data``, ``cli`` and what lies below them, and the names of backends from ``kernels``.
"""
