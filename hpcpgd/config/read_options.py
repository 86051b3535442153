"""Option values from flags and from TOML, checked, with hints at what an unknown name may mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hpcpgd.config.option_types import Kind
from hpcpgd.config.run_config import (
    FIELDS,
    HANG_TIMES,
    NAMES,
    NETWORKS,
    flag_name,
    key_of,
    kind_of,
)
from hpcpgd.config.toml_file import read_document
from hpcpgd.errors import ConfigError, HpcpgdError, UsageError, nearest, shown

# Keys of earlier versions, and the keys that have replaced them.
FORMER = {f"{phase}_limit": "hang_limit" for phase in HANG_TIMES}
# Names of PyTorch, Keras and scikit-learn for our options, unless the spelling is similar.
USUAL = {
    "lr": "learning_rate", "step_size": "learning_rate", "bs": "batch_size", "b": "batch_size",
    "minibatch": "batch_size", "max_iter": "epochs", "iterations": "max_steps",
    "iters": "max_steps", "layers": "hidden",
    "units": "hidden", "arch": "network", "model": "network", "o": "output", "input": "dataset",
    "device": "backend", "workers": "threads", "n_jobs": "threads", "random_state": "seed",
    "criterion": "loss", "loss_function": "loss", "print_freq": "log_every",
}  # fmt: skip


def checked(kind: Kind, value: Any, origin: str, error: type[HpcpgdError] = ConfigError) -> Any:
    """Return a valid value, or raise ``error`` with ``origin``, what was expected and seen."""
    try:
        return kind.check(value)
    except ValueError as problem:
        raise error(f"{origin}: expected {kind.expected()}, got {shown(value)}{problem}") from None
    except HpcpgdError as problem:
        raise error(f"{origin}: {problem}") from None


def _merge(values: dict[str, Any], origin: str) -> dict[str, Any]:
    """Replace the key ``network`` by ``hidden``; both together are refused."""
    if "network" not in values:
        return values
    if "hidden" in values:
        raise ConfigError(f"{origin}: network and hidden both name the widths: give one of them")
    others = {key: value for key, value in values.items() if key != "network"}
    return {**others, "hidden": NETWORKS[values["network"]]}


def read_tables(
    path: Path, what: str, names: tuple[str, ...], home: Callable[[str], str] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the tables of a TOML file, which may have only the tables ``names``.

    ``what`` is the option or argument that gave the path, for messages.  For a key outside of
    tables ``home`` returns where it belongs, "" if it is unknown.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or holds anything else.
    """
    document = read_document(str(path), what)
    for table, content in document.items():
        if table not in names and home is not None and home(table):
            raise ConfigError(f"{path}: '{table}' {home(table)}, but is in no table")
        if table not in names:
            hint = nearest(table, names)
            expected = ", ".join(f"[{name}]" for name in names)
            raise ConfigError(f"{path}: unknown table [{table}]: expected {expected}{hint}")
        if not isinstance(content, dict):
            raise ConfigError(f"{path}: '{table}' must be a table: [{table}]")
    return document


def read_toml(path: str) -> dict[str, Any]:
    """Read and check the table ``[train]`` of a TOML file.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or holds an unknown key or a bad value.
    """
    document = read_document(path, "--config")
    for key in document:
        if key != "train":
            raise ConfigError(f"{path}: unknown table or key '{key}': expected the table [train]")
    table = document.get("train", {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: 'train' must be a table: [train]")
    for key in table:
        if key not in FIELDS and key not in NAMES:
            raise ConfigError(f"{path}: [train]: unknown key '{key}'{_suggestion(key)}")
    where = f"{path}: [train] "
    values = {k: checked(kind_of(k), v, where + k) for k, v in table.items()}
    return _merge(values, path)


def meant(name: str, choices: Iterable[str]) -> str:
    """Return a hint at the choice that an unknown name may mean: a synonym, or the nearest."""
    key, spell = key_of(name), flag_name if name.startswith("-") else str
    if key in FORMER:
        return f"; '{spell(FORMER[key])}' has replaced it"
    return f"; did you mean '{spell(USUAL[key])}'?" if key in USUAL else nearest(name, choices)


def _suggestion(key: str) -> str:
    text = meant(key, [*FIELDS, *NAMES])
    for name, spec in FIELDS.items():
        if f"'{name}'" in text:
            return f"{text} (default {spec.default!r})"
    return text or "; the keys are the long flags with underscores"


def from_flags(texts: dict[str, Any]) -> dict[str, Any]:
    """Return the checked values of flags: by field the text, or True for one without a value.

    Raises
    ------
    UsageError, ConfigError
        For a value that is not valid; if both ``network`` and ``hidden`` are given.
    """
    values = {}
    for key, text in texts.items():
        kind = kind_of(key)
        value = kind.from_text(text) if isinstance(text, str) else text
        values[key] = checked(kind, value, flag_name(key), UsageError)
    return _merge(values, "command line")
