"""The CUDA sources, package data beside this module, with their local includes expanded.

A module is one text: CuPy names a cached kernel after its source text, and so would not
notice a change in an included file.
"""

from __future__ import annotations

import re
from importlib.resources import files

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)


def read(name: str) -> str:
    """Return the source ``name`` (such as ``update.cu``), with each include expanded once."""
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
