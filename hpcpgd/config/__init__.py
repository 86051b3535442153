"""The configuration of a run: its options, their types, the command line, TOML, which go together.

The table of reductions lies here, too.
May import ``data``, ``cli`` and what lies below them, and the table of backends from ``kernels``.
"""
