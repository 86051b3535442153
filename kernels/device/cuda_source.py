"""The CUDA sources, package data beside this module, with their local includes put in.

One text a module: CuPy's cache of compiled kernels is named after the text that it was
given and would not notice a change in an included file.
"""

from __future__ import annotations

import re
from importlib.resources import files

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


def read(name: str) -> str:
    """Return the source ``name`` (``update.cu``), each of its includes put in once."""
    done: set[str] = set()

    def include(match: re.Match[str]) -> str:
        header = match[1]
        if header in done:
            return ""
        done.add(header)
        return _INCLUDE.sub(include, _text(header))

    return _INCLUDE.sub(include, _text(name))


def _text(name: str) -> str:
    return (files("hpcpgd.kernels.device") / name).read_text(encoding="utf-8")
