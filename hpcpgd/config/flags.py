"""The command line of ``hpcpgd train``: flags made from the fields of ``RunConfig``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hpcpgd.cli.parser import OneLineParser
from hpcpgd.config.option_types import Choice, Flag, Kind
from hpcpgd.config.read_options import USUAL, from_flags, meant, read_toml
from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import FIELDS, NETWORKS, RECIPES, RunConfig, flag_name, key_of
from hpcpgd.errors import ConfigError, UsageError
from hpcpgd.version import __version__

DESCRIPTION = """Train a multilayer perceptron by exact parallel minibatch gradient descent.
Run it alone or under mpirun or srun: the weights do not depend on the number of ranks,
up to rounding."""
EPILOG = """examples:
  mpirun -n 2 python -m hpcpgd.train --output run.h5
  python -m hpcpgd.train --dataset my.csv --standardise --epochs 100
  python -m hpcpgd.train --output run.h5 --epochs 60     continue a run of fewer epochs

backends cuda and cuda-loops are experimental: they have run in an emulator, never on a GPU.
reduction overlap pays where messages between nodes are slow, not within one node."""
# Each group of --help, with the first of its options in the order of the fields.
GROUPS = {
    "dataset": "data",
    "hidden": "network and loss",
    "batch_size": "training",
    "backend": "arithmetic and ranks",
    "output": "files and restarts",
    "time_limit": "limits and messages",
}


def build_parser(program: str, description: str, refused: Mapping[str, str]) -> OneLineParser:
    """Return the parser, without the flags of the fields that are ``refused``.

    The parser leaves values as text: they are checked later, together with those of TOML.
    """
    parser = OneLineParser(
        prog=program,
        description=description,
        epilog="" if refused else EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for key in FIELDS:
        if key in GROUPS:
            group = parser.add_argument_group(GROUPS[key])
        if key not in refused:
            _add_option(group, key)
        if key == "hidden":
            names = ", ".join(f"{n} = {_shown(w)}" for n, w in NETWORKS.items())
            group.add_argument("--network", metavar="NAME", default=argparse.SUPPRESS, help=names)
    _add_configuration(parser.add_argument_group("configuration"), refused)
    return parser


def _add_option(group: Any, key: str) -> None:
    """Add the flag of a field."""
    spec = FIELDS[key]
    kind: Kind = spec.metadata["kind"]
    text = spec.metadata["help"].replace("%", "%%")
    if isinstance(kind, Flag):
        group.add_argument(
            flag_name(key), action="store_true", default=argparse.SUPPRESS, help=text
        )
        return
    if isinstance(kind, Choice):
        text = f"{', '.join(kind.choices)}: {text}"
    metavar = kind.metavar or key.split("_")[-1].upper()
    text += f" (default {_shown(spec.default)})"
    group.add_argument(flag_name(key), metavar=metavar, default=argparse.SUPPRESS, help=text)


def _add_configuration(group: Any, refused: Mapping[str, str]) -> None:
    recipes = "; ".join(f"{name} = {_as_flags(values)}" for name, values in RECIPES.items())
    text = f"several options under one name; other flags and TOML override them: {recipes}"
    add = group.add_argument
    add("--recipe", metavar="NAME", default=argparse.SUPPRESS, help=text)
    add("--config", metavar="FILE.toml", help="read the table [train]; flags override it")
    if "print_config" not in refused:
        add("--print-config", action="store_true", help="print the resolved TOML and stop")
    add("--version", action="version", version=f"hpcpgd {__version__}")


def _as_flags(values: dict[str, Any]) -> str:
    return " ".join(f"{flag_name(key)} {_shown(value)}" for key, value in values.items())


def _shown(default: Any) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def parse(
    argv: Sequence[str] | None,
    program: str = "hpcpgd train",
    description: str = DESCRIPTION,
    refused: Mapping[str, str] = MappingProxyType({}),
) -> tuple[RunConfig, bool]:
    """Read the command line of ``hpcpgd train``, or of a program with the same flags.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments after the program's name; None for those of this process.
    program, description : str
        For the help text.
    refused : mapping of str to str
        Fields (and ``print_config``) whose flags the program refuses, each with the rest of the
        error message after the flag's name.

    Returns
    -------
    config : RunConfig
    print_config : bool
        Whether the program is to print the configuration and stop.

    Raises
    ------
    UsageError
        For a wrong flag or flag value.
    ConfigError
        For a bad TOML file or an impossible combination.
    """
    parser = build_parser(program, description, refused)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        word = unknown[0].split("=")[0]
        key = USUAL.get(key_of(word), key_of(word))
        if key in refused:
            raise UsageError(f"{word} {refused[key]}")
        flags = [name for action in parser._actions for name in action.option_strings]
        raise UsageError(f"unknown argument '{unknown[0]}'{meant(word, flags)} (--help lists them)")
    texts = vars(known)
    path, print_config = texts.pop("config"), texts.pop("print_config", False)
    toml = {} if path is None else read_toml(path)
    for key, value in toml.items():
        if key in refused and value != FIELDS[key].default:
            raise ConfigError(f"{path}: [train] {key} {refused[key]}")
    return resolve(toml, from_flags(texts)), print_config
