"""``python -m hpcpgd.data``: fetch and describe datasets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from hpcpgd.cli.launcher import guarded, say
from hpcpgd.cli.parser import OneLineParser, require_command
from hpcpgd.data import fetch
from hpcpgd.data.info import describe
from hpcpgd.data.load import check_name, load
from hpcpgd.errors import nearest


def main(argv: list[str] | None = None) -> int:
    """Run ``hpcpgd data`` and return its exit code."""

    def run() -> int:
        arguments = _parse(sys.argv[1:] if argv is None else argv)
        say(_COMMANDS[arguments.command](arguments))
        return 0

    return guarded("hpcpgd data", run)


def _parse(argv: list[str]) -> argparse.Namespace:
    require_command(argv, _COMMANDS)
    parser = OneLineParser(
        prog="hpcpgd data", description="Fetch and describe datasets.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("fetch", help="download a dataset", allow_abbrev=False)
    one.add_argument("dataset", type=_fetchable, help="mnist")
    one.add_argument(
        "--mirror", action="append", metavar="URL", help="download from this URL; repeatable"
    )
    one.add_argument("--to", type=Path, metavar="DIR", help="default: $HPCPGD_DATA or the cache")
    one = commands.add_parser("info", help="describe a dataset", allow_abbrev=False)
    one.add_argument(
        "dataset",
        metavar="PATH-or-name",
        help="as for train --dataset, so also the name of a folder in $HPCPGD_DATA",
    )
    one.add_argument(
        "--label-column", default="auto", metavar="NAME|N", help="as for train --label-column"
    )
    one.add_argument(
        "--task",
        choices=("classification", "regression"),
        default="classification",
        help="as for train --task",
    )
    return parser.parse_args(argv)


def _fetchable(name: str) -> str:
    if name != "mnist":
        raise argparse.ArgumentTypeError(
            f"cannot fetch {name!r}: expected mnist{nearest(name, ['mnist'])}"
        )
    return name


def _fetch(arguments: argparse.Namespace) -> str:
    folder = arguments.to or fetch.default_folder()
    fetch.fetch(folder, arguments.mirror or fetch.MIRRORS, fetch.MNIST_SHA256)
    return f"mnist: {len(fetch.MNIST_SHA256)} files in {folder}, checksums right"


def _info(arguments: argparse.Namespace) -> str:
    check_name(arguments.dataset)
    raw = load(
        arguments.dataset, seed=0, dtype="float64", label_column=arguments.label_column,
        regression=arguments.task == "regression",
    )  # fmt: skip
    return describe(raw)


_COMMANDS: dict[str, Callable[[argparse.Namespace], str]] = {"fetch": _fetch, "info": _info}
