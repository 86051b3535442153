"""Numbers as text for people."""

from __future__ import annotations

import math


def percent(share: float) -> str:
    """Return a share, 0 to 1, as a percentage; ``-`` for NaN."""
    return "-" if math.isnan(share) else f"{100 * share:.2f} %"


def number(value: float) -> str:
    """Return a loss with four decimals, a large one with an exponent, ``-`` for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3e}"


def reached(epochs: float, steps: float, seconds: float) -> str:
    """Return when a target was reached; ``epochs`` is 0 if it was not."""
    when = f"after {epochs:g} epochs, {steps:.0f} steps, {duration(seconds)} of training"
    return f"reached {when}" if epochs else "not reached"


def duration(seconds: float) -> str:
    """Return a time, given in seconds, in us or ms with three digits, or in s with four."""
    if seconds < 1e-3:
        return f"{1e6 * seconds:.3g} us"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.4g} s"
