"""``python -m tests.emulation.script MODULE ARGUMENTS``: a module on emulated GPUs."""

from __future__ import annotations

import runpy
import sys

from tests.emulation.job import emulate


def main() -> None:
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    emulate()
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
