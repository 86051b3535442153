"""What ``hpcpgd study new`` does."""

from __future__ import annotations

from importlib.resources import files

from hpcpgd.cli.launcher import say


def new(template: str) -> int:
    """Print a study file with comments that runs as it is."""
    path = files("hpcpgd.study").joinpath("templates", f"{template}.toml")
    say(path.read_text(encoding="utf-8").rstrip("\n"))
    return 0
