"""What a command line asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What to predict, and where to write it; ``dataset`` None stands for that of the run."""

    run: Path
    dataset: str | None
    split: str
    label_column: str | None
    output: Path
    overwrite: bool
