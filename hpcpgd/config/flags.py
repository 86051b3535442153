"""The command line of ``hpcpgd train``: flags made from the fields of ``RunConfig``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hpcpgd.cli.parser import OneLineParser
from hpcpgd.config.option_types import Choice, Flag, Kind
from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import (
    FIELDS,
    NETWORKS,
    RECIPES,
    USUAL,
    RunConfig,
    flag_name,
    from_flags,
    key_of,
    meant,
    read_toml,
)
from hpcpgd.errors import UsageError
from hpcpgd.version import __version__

DESCRIPTION = """Train a multilayer perceptron by exact parallel minibatch gradient descent.
Run it alone or under mpirun or srun: the weights do not depend on the number of ranks,
up to rounding."""


def build_parser(program: str, description: str, refused: Mapping[str, str]) -> OneLineParser:
    """Return the parser, without the flags of the fields that are ``refused``.

    Every value stays text, to be checked with the TOML's.
    """
    parser = OneLineParser(prog=program, description=description, allow_abbrev=False)
    add = parser.add_argument
    for key, spec in FIELDS.items():
        if key in refused:
            continue
        kind: Kind = spec.metadata["kind"]
        text = spec.metadata["help"].replace("%", "%%")
        if isinstance(kind, Flag):
            add(flag_name(key), action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        if isinstance(kind, Choice):
            text = f"{', '.join(kind.choices)}: {text}"
        metavar = kind.metavar or key.split("_")[-1].upper()
        text += f" (default {_shown(spec.default)})"
        add(flag_name(key), metavar=metavar, default=argparse.SUPPRESS, help=text)
        if key == "hidden":
            names = ", ".join(f"{n} = {_shown(w)}" for n, w in NETWORKS.items())
            add("--network", metavar="NAME", default=argparse.SUPPRESS, help=names)
    recipes = "; ".join(f"{name} = {_as_flags(values)}" for name, values in RECIPES.items())
    text = f"options under one name, over which others win: {recipes}"
    add("--recipe", metavar="NAME", default=argparse.SUPPRESS, help=text)
    add("--config", metavar="FILE.toml", help="read the table [train]; flags win over it")
    if "print_config" not in refused:
        add("--print-config", action="store_true", help="print the resolved TOML and stop")
    add("--version", action="version", version=f"hpcpgd {__version__}")
    return parser


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
    """Read the command line of ``hpcpgd train``, or of what has its flags.

    Parameters
    ----------
    argv : sequence of str or None
    program, description : str
        For the help.
    refused : mapping
        Fields (and ``print_config``) whose flags the program does not take, and for each what
        an error says behind the flag's name.

    Returns
    -------
    config : RunConfig
    print_config : bool
        Whether only the configuration is asked for.

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
    return resolve(toml, from_flags(texts)), print_config
