"""The rows that a prediction is for, as a dataset in the units of the run file."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.config.read_options import checked
from hpcpgd.config.run_config import RunConfig, kind_of
from hpcpgd.config.toml_file import parse
from hpcpgd.data import Dataset, RawData, Split, check_name, load, path_of, prepare
from hpcpgd.data.dataset import Array, sha256, splits_of
from hpcpgd.errors import ConfigError, DataError, UsageError, printable
from hpcpgd.results.atomic import check_writable
from hpcpgd.results.model_reader import Model, read_model
from hpcpgd.results.result_reader import ResultReader, opened_result

# Options that decide which rows a run used, and how.
OF_ROWS = ("dataset", "label_column", "seed", "train_rows", "test_fraction")


def read(request: Namespace) -> tuple[Model, Dataset, Array, str]:
    """Return the model, a dataset whose training rows are those to predict, and the run's name.

    The third is the number of each row among all rows of the data, as ``--split all`` has them.

    Raises
    ------
    HpcpgdError
        If the run file, the dataset or the output is wrong.
    """
    with opened_result(request.run) as run:
        model, config, name = read_model(run, request.weights), _config(run), run.text("run")
        digest = run.text("dataset_sha256")
    source = request.dataset or config.dataset
    check_name(source)
    if request.output:
        check_writable(request.output, request.overwrite, path_of(source))
        if request.output.exists() and request.output.samefile(request.run):
            raise UsageError(f"--output {request.output}: is the run file itself; give another")
    own_column = request.dataset is None or model.network.regression
    column = request.label_column or (config.label_column if own_column else "auto")
    raw = load(
        source, seed=config.seed, dtype=model.network.dtype, label_column=column,
        classes=model.labels, regression=model.network.regression,
    )  # fmt: skip
    columns, inputs = raw.train.features.shape[1], model.network.widths[0]
    if columns != inputs:
        raise DataError(
            f"{source}: has {columns} columns of features, but the network of {request.run} has "
            f"{inputs} inputs: expected as many (--label-column none: a table without labels)"
        )
    own = sha256(raw) == digest
    if request.dataset is None and not own:
        raise DataError(
            f"{source}: is not what the run was trained on, by its sha256: name it with "
            "--dataset to predict all its rows"
        )
    split = _split(raw, request.split, config, own)
    if own and request.split == "all":
        raw = replace(raw, name=f"{raw.name}, those of the training among them")
    numbers = _split(_numbered(raw), request.split, config, own).features[:, 0]
    return model, _dataset(raw, split, digest, request.split), numbers, name


def _config(run: ResultReader) -> RunConfig:
    """Return those options of a run that decide which rows it used."""
    table: dict[str, Any] = parse(run.text("config"))["train"]
    try:
        return RunConfig(**{key: checked(kind_of(key), table[key], key) for key in OF_ROWS})
    except (ConfigError, UsageError) as error:
        raise DataError(f"config: {error}") from None


def _numbered(raw: RawData) -> RawData:
    """Return data with the number of each row as its only feature, counted over all splits."""
    parts, first = dict[str, Split](), 0
    for name, split in splits_of(raw).items():
        parts[name] = Split(np.arange(first, first + split.rows)[:, None], split.labels)
        first += split.rows
    return replace(
        raw, train=parts["train"], validation=parts.get("validation"), test=parts.get("test")
    )


def _split(raw: RawData, name: str, config: RunConfig, own: bool) -> Split:
    present = splits_of(raw)
    if name == "all":
        parts = list(present.values())
        features = np.concatenate([part.features for part in parts])
        return Split(features, np.concatenate([part.labels for part in parts]))
    if own:
        rows = None if config.train_rows == "all" else int(config.train_rows)
        fraction = None if config.test_fraction == "auto" else float(config.test_fraction)
        data = prepare(raw, seed=config.seed, train_rows=rows, test_fraction=fraction)
        present = splits_of(data)
    if name not in present or not present[name].rows:
        there = [*(split for split, rows in present.items() if rows.rows), "all"]
        raise DataError(f"{raw.name}: has no {name} rows, expected --split {' or '.join(there)}")
    return present[name]


def _dataset(raw: RawData, split: Split, digest: str, name: str) -> Dataset:
    none = split.take(np.arange(0))
    return Dataset(
        name=printable(f"{Path(raw.name).name} ({name})"), train=split, validation=none, test=none,
        n_out=raw.n_out, scale=raw.scale, offset=raw.offset,
        labelled=raw.labelled, sha256=digest,
    )  # fmt: skip
