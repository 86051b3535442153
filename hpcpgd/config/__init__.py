"""The configuration of a run: options, their types, flags, TOML, and which values go together.

The table of reductions is here, too.
May import ``data``, ``cli`` and the modules below them, and the table of backends of ``kernels``.
"""
