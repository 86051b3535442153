"""How numbers are shown to people."""

from __future__ import annotations

import math


def percent(share: float) -> str:
    """Return a share as a percentage, ``-`` where there is none."""
    return "-" if math.isnan(share) else f"{100 * share:.2f} %"


def number(value: float) -> str:
    """Return a loss with four decimals, a huge one in powers of ten, ``-`` for none."""
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if value < 1e4 else f"{value:.3e}"


def duration(seconds: float) -> str:
    """Return a time with three digits in the unit that suits it."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} us"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.4g} s"
