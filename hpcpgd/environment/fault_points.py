"""Named points of a run at which tests let it fail; in use nothing happens there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What a test wants to happen, by the point's name.
hooks: dict[str, Callable[..., None]] = {}


def fault_point(name: str, *seen: Any) -> None:
    """Call what a test has set for the point ``name``, with what can be seen there."""
    if name in hooks:
        hooks[name](*seen)
