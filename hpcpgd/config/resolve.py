"""Which options go together: defaults, TOML and flags combined into one configuration."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from hpcpgd.config.default_rate import default_rate
from hpcpgd.config.reduction_table import REDUCTIONS
from hpcpgd.config.run_config import ACTIVATIONS, RECIPES, SHARDS, RunConfig
from hpcpgd.errors import ConfigError
from hpcpgd.kernels.backends.registry import BACKENDS, TILE_PARTS

# Options that no backend on a GPU has.
OF_HOST = ("task", "optimizer", "weight_decay", "schedule", "warmup_steps", "clip_norm")


def _check_rate(config: RunConfig) -> None:
    """Refuse a learning rate that is 0 or infinite in the run's number type."""
    if config.dtype == "float32":
        try:
            rate = struct.unpack("<f", struct.pack("<f", float(config.learning_rate)))[0]
        except OverflowError:
            rate = 0.0
        if rate == 0.0:
            raise ConfigError(
                f"learning rate {float(config.learning_rate):g} has no value in float32: "
                "expected 1e-45 to 3e38, or --dtype float64"
            )


def _check_precision(config: RunConfig) -> None:
    """Refuse products in another type than the run's, but for those that float32 may have."""
    precision, dtype = config.matmul_precision, config.dtype
    reduced = precision in ("tf32", *TILE_PARTS)
    able = [name for name, backend in BACKENDS.items() if precision in backend.precisions]
    needs = {"backend": able, "dtype": ["float32"]} if reduced else {}
    if wrong := [name for name, good in needs.items() if getattr(config, name) not in good]:
        now = " and ".join(f"{name} {getattr(config, name)}" for name in wrong)
        needed = " and ".join(f"{name} {' or '.join(needs[name])}" for name in wrong)
        raise ConfigError(f"matmul-precision {precision} does not go with {now}: it needs {needed}")
    if precision != dtype and not reduced:
        raise ConfigError(
            f"matmul-precision {precision} does not go with dtype {dtype}: leave it out, "
            f"or set dtype to {precision}"
        )


def _check_reduction(config: RunConfig) -> None:
    """Refuse a reduction that does not go with the backend or the threads."""
    if config.reduction == "auto":  # a reduction that goes with both is chosen later
        return
    name, backend, traits = config.reduction, config.backend, REDUCTIONS[config.reduction]
    if backend not in traits.backends:
        able = [other for other, row in REDUCTIONS.items() if backend in row.backends]
        raise ConfigError(
            f"reduction {name} does not go with backend {backend}: use reduction "
            f"{' or '.join(able)}, or backend {' or '.join(traits.backends)}"
        )
    scheduled = [other for other in traits.backends if BACKENDS[other].scheduled]
    if traits.same_bits and backend not in scheduled and config.threads not in ("auto", 1):
        raise ConfigError(
            f"reduction {name} with backend {backend} computes with one thread per rank "
            f"(now {config.threads}): leave threads out, or use backend {' or '.join(scheduled)}"
        )


def _check_units_and_groups(config: RunConfig) -> None:
    """Refuse shards and group sizes that do not apply to the reduction."""
    reduction = config.reduction
    same_bits = [name for name, row in REDUCTIONS.items() if row.same_bits]
    if config.shards != SHARDS and reduction not in same_bits:
        names = " or ".join(same_bits)
        raise ConfigError(
            f"shards {config.shards} applies only to reduction {names} "
            f"(now {reduction}): leave shards out, or use --reduction {names}"
        )
    grouped = [name for name, row in REDUCTIONS.items() if row.grouped]
    if config.group_size != "node" and reduction not in (*grouped, "auto"):
        raise ConfigError(
            f"group-size {config.group_size} applies only to reductions "
            f"{' and '.join(grouped)} (now {reduction}): leave it out, or use one of these"
        )


def _with_recipe(
    toml: dict[str, Any], flags: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return TOML and flags, with the options of the recipe that one of them names below both."""
    name = {**toml, **flags}.get("recipe")
    below = {} if name is None else RECIPES[name]
    layers = ({**below, **toml}, flags)
    toml, flags = ({k: v for k, v in layer.items() if k != "recipe"} for layer in layers)
    return toml, flags


def resolve(toml: dict[str, Any], flags: dict[str, Any]) -> RunConfig:
    """Combine defaults, recipe, TOML and flags, and resolve ``auto`` where other fields decide.

    Raises
    ------
    ConfigError
        For a combination that cannot work; the message names combinations that do.
    """
    toml, flags = _with_recipe(toml, flags)
    values = {**toml, **flags}
    if values.get("task") == "regression":
        values = {"output_activation": "linear", "loss": "mse"} | values
    if "dtype" in flags and values.get("matmul_precision") == toml.get("dtype", "auto"):
        values.pop("matmul_precision", None)  # it was derived from the overridden dtype
    if values.get("dtype", "auto") == "auto":
        values["dtype"] = BACKENDS[values.get("backend", RunConfig.backend)].precisions[0]
    if values.get("matmul_precision", "auto") == "auto":
        values["matmul_precision"] = values["dtype"]
    config = RunConfig(**values, given=frozenset({*toml, *flags}))
    if config.learning_rate == "auto":
        config = replace(config, learning_rate=default_rate(config))
    if config.patience != "none":
        config = replace(config, keep_best=True)
    _check_rate(config)
    _check_precision(config)
    _check_reduction(config)
    _check_units_and_groups(config)
    backend = BACKENDS[config.backend]
    if backend.on_device and config.threads not in ("auto", 1):
        raise ConfigError(
            f"backend {config.backend} computes on a GPU, with one host thread per rank: "
            f"leave threads out (now {config.threads})"
        )
    if config.dtype not in backend.precisions:
        only = " and ".join(backend.precisions)
        raise ConfigError(f"backend {config.backend} computes in {only} only: leave dtype out")
    if backend.on_device:
        _check_device(config)
    if config.optimizer == "sgd" and config.momentum != RunConfig.momentum:
        raise ConfigError(
            f"momentum {config.momentum:g} does not go with optimizer sgd: use optimizer momentum"
        )
    _check_network(config)
    return config


def _check_device(config: RunConfig) -> None:
    """Refuse options that no backend on a GPU has."""
    others = [name for name in OF_HOST if getattr(config, name) != getattr(RunConfig, name)]
    if config.activation not in ACTIVATIONS:
        others.append(f"activation {config.activation}")
    if others:
        names = " and ".join(name.replace("_", "-") for name in others)
        raise ConfigError(
            f"backend {config.backend} has classification, one activation without gelu, and "
            f"optimizer sgd at a constant rate only: leave {names} out, or use a backend of the "
            "host"
        )


def _check_network(config: RunConfig) -> None:
    """Refuse functions and a loss that do not go together."""
    names, layers = config.activation.split(","), len(config.hidden)
    if len(names) not in (1, layers):
        raise ConfigError(
            f"activation {config.activation} has {len(names)} functions for {layers} hidden "
            f"layers: give one for all, or {layers}"
        )
    if config.task == "regression" and config.loss != "mse":
        raise ConfigError(f"loss {config.loss} does not go with task regression: use mse")
    if config.output_activation == "softmax" and config.loss == "mse":
        raise ConfigError(
            "loss mse does not go with output-activation softmax: "
            "use cross-entropy with softmax or sigmoid, or mse with sigmoid, tanh, relu or linear"
        )
    if config.loss == "cross-entropy" and config.output_activation not in ("softmax", "sigmoid"):
        raise ConfigError(
            f"loss cross-entropy does not go with output-activation {config.output_activation}: "
            "use softmax or sigmoid"
        )
