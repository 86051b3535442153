"""Many runs in the same processes, each the same as ``python -m hpcpgd.train``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpcpgd.config.flags import parse
from hpcpgd.train import job


def run(plan: Path) -> int:
    """Train the runs of a plan and return the exit code; collective over the world."""
    lines = json.loads(plan.read_text(encoding="utf-8"))

    def body(world: Any) -> None:
        for words in lines:
            job.train(world, parse(words)[0], words)

    return job.on_world("check_bits", body)
