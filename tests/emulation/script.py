"""``python -m tests.emulation.script FILE ARGUMENTS``: a script on emulated GPUs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tests.emulation.job import emulate


def main() -> None:
    script = sys.argv[1]
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(Path(script).parent))
    emulate()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
