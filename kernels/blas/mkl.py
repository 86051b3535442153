"""Intel's oneMKL: where its wheel has put the library, and what is set before its first call."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "mkl"
_SEQUENTIAL, _LP64 = 1, 0  # one thread a call, integers of 32 bits
_AUTO, _ALL = 2, -1  # of conditional numerical reproducibility (CNR), which fixes the order of sums
_NAMES = {_AUTO: "AUTO", 3: "COMPATIBLE"}


def installed() -> str:
    """Return the file of oneMKL's wheel, which pip puts outside ``site-packages``, or ""."""
    try:
        files = metadata.files(NAME) or []
    except metadata.PackageNotFoundError:
        return ""
    found = (file.locate() for file in files if file.name.startswith("libmkl_rt.so"))
    return next((str(Path(path).resolve()) for path in found), "")


def prepare(handle: Any) -> str:
    """Set up oneMKL before its first call; return the mode and instructions that decide its bits.

    Several of our threads call it at once, so each call has one.  Without CNR sums may depend on
    the alignment of the arrays; ``$MKL_CBWR`` may choose another mode than AUTO.

    Raises
    ------
    OSError
        If it has worked already with other settings.
    """
    layers = (handle.MKL_Set_Threading_Layer(_SEQUENTIAL), handle.MKL_Set_Interface_Layer(_LP64))
    if handle.MKL_CBWR_Get(_ALL) < _AUTO:
        handle.MKL_CBWR_Set(_AUTO)
    mode = handle.MKL_CBWR_Get(_ALL)
    if layers != (_SEQUENTIAL, _LP64) or mode < _AUTO:
        raise OSError("this process has used oneMKL with other settings: start another process")
    instructions = os.environ.get("MKL_ENABLE_INSTRUCTIONS", "")
    return f"CNR {_NAMES.get(mode, mode)} {instructions}".strip()
