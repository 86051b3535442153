"""The dataset that a configuration names, ready for training, without MPI."""

from __future__ import annotations

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import Dataset, load, prepare
from hpcpgd.data.guard import ensure_fits


def load_dataset(config: RunConfig) -> Dataset:
    """Read, split and scale the dataset of a run.

    Raises
    ------
    UsageError, ConfigError, DataError
        As `hpcpgd.data.load` and `hpcpgd.data.prepare`.
    """
    raw = load(
        config.dataset, seed=config.seed, dtype=config.dtype, label_column=config.label_column,
        regression=config.task == "regression", arrays=config.arrays,
    )  # fmt: skip
    rows = None if config.train_rows == "all" else int(config.train_rows)
    if raw.validation is None:  # rows are copied, to training and validation
        share = 1.0 if rows is None else rows / raw.train.rows
        ensure_fits(int(raw.train.features.nbytes * share), f"{raw.name}, divided into sets")
    return prepare(
        raw,
        seed=config.seed,
        train_rows=rows,
        test_fraction=None if config.test_fraction == "auto" else float(config.test_fraction),
        standardise=config.dtype if config.standardise else None,
    )
