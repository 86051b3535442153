"""The console command ``hpcpgd``: it hands its arguments to the command that they name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from hpcpgd.cli.launcher import guarded, launcher_rank, say
from hpcpgd.errors import UsageError, nearest
from hpcpgd.version import __version__

COMMANDS = {
    "train": ("hpcpgd.train.cli", "train a network, alone or under mpirun or srun"),
    "study": ("hpcpgd.study.cli", "plan, run, collect and report a scaling study"),
    "data": ("hpcpgd.data.cli", "fetch or describe a dataset"),
    "info": ("hpcpgd.info.cli", "show a run file as a page"),
    "compare": ("hpcpgd.info.cli:compare", "show how two run files differ"),
    "plot": ("hpcpgd.study.run_figures", "draw a run file as a page"),
    "predict": ("hpcpgd.predict.cli", "apply the network of a run file to rows of a dataset"),
    "export": ("hpcpgd.predict.export", "write the network of a run file for other programs"),
    "compile": ("hpcpgd.compile.cli", "fill the kernel cache before jobs start"),
    "doctor": ("hpcpgd.doctor.cli", "show what is wrong or slow here, and what to do"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        module, _, function = COMMANDS[words[0]][0].partition(":")
        return int(getattr(importlib.import_module(module), function or "main")(words[1:]))
    return guarded("hpcpgd", lambda: _answer(words))


def _answer(words: list[str]) -> int:
    """Print the help or the version, or raise ``UsageError`` for an unknown command."""
    if not words or words[0] in ("-h", "--help", "--version"):
        lines = [f"  {name:<9}{text}" for name, (_, text) in COMMANDS.items()]
        last = "hpcpgd COMMAND --help shows its flags"
        text = "\n".join(["usage: hpcpgd COMMAND ...", "", *lines, "", last])
        if launcher_rank() == 0:
            say(f"hpcpgd {__version__}" if words[:1] == ["--version"] else text)
        return 0
    hint = nearest(words[0], COMMANDS)
    expected = f"expected one of {', '.join(COMMANDS)}{hint}"
    raise UsageError(f"unknown command '{words[0]}': {expected}")
