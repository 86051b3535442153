"""``python -m hpcpgd.study``: plan, run, collect and report scaling studies."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from hpcpgd.cli.launcher import guarded
from hpcpgd.cli.parser import OneLineParser, require_command
from hpcpgd.errors import DataError, UsageError
from hpcpgd.study import figure_form

# The module of each command; its function has the command's name and takes its flags.
_MODULES = {
    "new": "subcommands",
    "plan": "plan_command",
    "run": "run_command",
    "submit": "slurm.submission",
    "status": "slurm.submission",
    "collect": "subcommands",
    "report": "report_command",
    "paper": "paper.paper_command",
}


def main(argv: list[str] | None = None) -> int:
    """Run ``hpcpgd study`` and return its exit code."""

    def run() -> int:
        words = sys.argv[1:] if argv is None else argv
        if words[:1] == ["select"]:  # its flags are those of train; it may run on many ranks
            from hpcpgd.study import select

            return select.main(words[1:])
        arguments = vars(_parse(words))
        command = arguments.pop("command")
        try:
            module = import_module(f"hpcpgd.study.{_MODULES[command]}")
            return int(getattr(module, command)(**arguments))
        except OSError as error:  # such as a folder that this user may not enter
            where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
            raise DataError(f"{where}{error.strerror or error}") from None

    return guarded("hpcpgd study", run)


def _parse(argv: list[str]) -> argparse.Namespace:
    require_command(argv, (*_MODULES, "select"))
    parser = OneLineParser(
        prog="hpcpgd study",
        description="Scaling studies.",
        allow_abbrev=False,
        epilog="select: choose the learning rate as the paper does (hpcpgd study select --help)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    text = "print a study file with comments, to be edited: hpcpgd study new strong > my.toml"
    one = commands.add_parser("new", help=text, description=text, allow_abbrev=False)
    one.add_argument("template", choices=("strong", "weak", "sweep", "paper"))
    folder = "folder of its runs (default: hpcpgd-study-NAME in this folder, or else where it "
    folder += "stands beside STUDY.toml)"
    retry = "make failed and timed-out runs again"
    texts = {
        "plan": "print the runs, what they will cost and which are done",
        "run": "make the runs that are not done, collect and report; run again after a stop",
        "submit": "submit what is neither done nor queued to SLURM, one array for each size",
        "status": "print which runs are done, running, pending, failed or missing",
        "collect": "copy all runs into one study file",
    }
    parts = {}
    for name, text in texts.items():
        parts[name] = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        parts[name].add_argument("path", type=Path, metavar="STUDY.toml")
        parts[name].add_argument("--folder", type=Path, metavar="DIR", help=folder)
    for name in ("run", "submit"):
        parts[name].add_argument("--retry-failed", action="store_true", help=retry)
    one = parts["submit"]
    text = "settings of the cluster, such as its partition"
    one.add_argument(
        "--site", dest="site_file", type=Path, required=True, metavar="SITE.toml", help=text
    )
    one.add_argument("--dry-run", action="store_true", help="print the scripts and stop")
    one.add_argument("--wait", action="store_true", help="wait until all have ended")
    text = "make the runs again during which others used the cores"
    parts["run"].add_argument("--retry-disturbed", action="store_true", help=text)
    parts["run"].add_argument(
        "--launcher",
        metavar="COMMAND",
        help="command that starts the ranks, such as 'srun --mpi=pmi2' in an allocation "
        "(default: the mpiexec beside this Python or in PATH)",
    )
    parts["run"].add_argument(
        "--task", metavar="NAME", help="make this run only, while other processes make others"
    )
    parts["run"].add_argument(
        "--no-report", dest="with_report", action="store_false", help="neither collect nor report"
    )
    one = parts["collect"]
    one.add_argument("--output", type=Path, metavar="FILE.h5", help="default: study.h5 in DIR")
    one.add_argument(
        "--also",
        action="append",
        type=_labelled,
        default=[],
        metavar="LABEL=DIR",
        help="runs of the same study on another machine; repeatable",
    )
    one.add_argument("--label", help="label of this machine (default: its processor)")
    text = "print the tables and draw the figures of a study"
    one = commands.add_parser("report", help=text, description=text, allow_abbrev=False)
    text = "a study's folder or TOML file, whose runs are collected first; or its .h5"
    one.add_argument("path", type=Path, metavar="PATH", help=text)
    text = "default: figures in the study's folder, NAME.figures beside NAME.h5"
    one.add_argument("--figures", type=Path, metavar="DIR", help=text)
    text = "in inches, such as 7x4.5, with room for panels of 0.6 inches (default: by the content; "
    text += "many bars take more height)"
    one.add_argument("--size", type=figure_form.size, metavar="WxH", help=text)
    text = "title of each figure (default: what was measured, on what and where)"
    one.add_argument("--title", metavar="TEXT", help=text)
    text = f"one or several of {', '.join(figure_form.ALL_FORMATS)}, with commas (default: png,pdf)"
    one.add_argument("--format", dest="formats", type=figure_form.formats, metavar="LIST",
                     default=figure_form.FORMATS, help=text)  # fmt: skip
    text = "run Table 1 of the paper, draw its figures 5 to 10, judge its ten claims"
    one = commands.add_parser("paper", help=text, description=text, allow_abbrev=False)
    one.add_argument("--quick", action="store_true", help="2,048 training rows, one repeat")
    one.add_argument("--only", choices=["gpu"], help="only the rows that need a GPU")
    one.add_argument("--dataset", help="default: mnist, else fashion-mnist")
    one.add_argument("--folder", type=Path, metavar="DIR", help="folder of its runs")
    one.add_argument(
        "--library-python",
        dest="python",
        metavar="PYTHON",
        help="interpreter that has PyTensor, Keras with JAX, and PyTorch (default: this one)",
    )
    one.add_argument("--retry-failed", action="store_true", help=retry)
    return parser.parse_args(argv)


def _labelled(text: str) -> tuple[str, Path]:
    label, sign, folder = text.partition("=")
    if not (label and sign and folder):
        raise UsageError(f"--also {text}: expected LABEL=DIR")
    return label, Path(folder)
