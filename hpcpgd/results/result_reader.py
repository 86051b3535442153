"""Reading a run file or a study file that may be damaged or made to do harm.

Needs neither MPI nor numba, so that any machine can read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpcpgd.config.toml_file import parse
from hpcpgd.data.checks import numeric
from hpcpgd.data.dataset import Array
from hpcpgd.data.hdf5_heaps import opened
from hpcpgd.data.safe_hdf5 import attribute, dataset, texts
from hpcpgd.errors import DataError, printable
from hpcpgd.results.identify import CHECKPOINT, RUN, STUDY, what_is

SCHEMAS = {RUN: "hpcpgd.run/1", STUDY: "hpcpgd.study/1"}
RESULTS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
# Columns of segments that change the numbers, and their options.
CHANGING = {"backend": "backend", "reduction": "reduction", "precision": "matmul_precision"}
R2 = ("train_r2", "validation_r2")  # of a regression
READ_BY = {
    CHECKPOINT: "train --resume", RUN: "plot", STUDY: "study report", "a dataset": "data info",
}  # fmt: skip


@contextmanager
def opened_result(path: Path, kind: str = RUN) -> Iterator[ResultReader]:
    """Open a file of ``kind``, which is ``RUN`` or ``STUDY``, to read it.

    Raises
    ------
    DataError
        If it is missing or damaged; if it is of another kind, with the command that reads it.
        Also if a value that the body reads is wrong.
    """
    seen = what_is(path)
    if seen not in ("", kind):  # "": opening it says what is wrong
        command = f": hpcpgd {READ_BY[seen]} {path} reads it" if seen in READ_BY else ""
        raise DataError(f"{path}: is {seen}, expected {kind}{command}")
    with opened(path) as file:
        try:
            reader = ResultReader(file)
            schema = reader.text("schema")
            if schema != SCHEMAS[kind]:
                raise DataError(f"schema {schema!r}, expected {SCHEMAS[kind]!r}")
            yield reader
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def config_text(value: Any) -> str:
    """Return a value of the configuration as its flag has it."""
    return printable(",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


class ResultReader:
    """The values of a file, each checked when it is read."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file

    def text(self, name: str) -> str:
        """Return a text among the attributes."""
        return str(attribute(self._file, name, str))

    def number(self, name: str, least: int = 1) -> int:
        """Return a number among the attributes that is ``least`` or more."""
        value = int(attribute(self._file, name, int))
        if value < least:
            raise DataError(f"attribute {name!r} is {value}, expected {least} or more")
        return value

    def real(self, group: str, name: str) -> float:
        """Return a finite number among the attributes of a group of the root."""
        value = np.asarray(self._file[group].attrs.get(name) if self.has(group) else None)
        if value.dtype.kind not in "fiu" or value.size != 1 or not np.isfinite(value).all():
            raise DataError(f"{group}: attribute {name!r} is not a finite number")
        return float(value.reshape(()))

    def config(self) -> dict[str, str]:
        """Return the configuration, each value as its flag has it."""
        return {
            printable(k): config_text(v) for k, v in parse(self.text("config"))["train"].items()
        }

    def history(self) -> dict[str, Array]:
        """Return columns of the history by name, each float64 (epochs,)."""
        epochs = len(self.values("history/steps", (None,)))
        names = [*RESULTS, "epoch_seconds", "gflops"]
        names += [name for name in R2 if self.has(f"history/{name}")]
        return {n: self.values(f"history/{n}", (epochs,)).astype(np.float64) for n in names}

    def test(self) -> dict[str, float]:
        """Return loss and accuracy, or for a regression R², of the test; NaN without one."""
        names = ("loss", "r2" if self.has(f"history/{R2[0]}") else "accuracy")
        there = self.has("test")
        return {n: float(self.values(f"test/{n}", ())) if there else math.nan for n in names}

    def changed(self) -> dict[str, list[str]]:
        """Return the values that options had in each segment, where not all have the same."""
        number, found = len(self.values("segments/ranks", (None,))), {}
        for name, option in CHANGING.items():
            if self.has(path := f"segments/{name}"):  # files of earlier versions lack precision
                found[option] = [text or f"unknown {name}" for text in self.texts(path)]
                if len(found[option]) != number:
                    raise DataError(f"{path}: expected {number} texts")
        return {option: texts for option, texts in found.items() if len({*texts}) > 1}

    def others_used(self) -> float:
        """Return the cores that other processes used since the last start, NaN if not known."""
        path = "segments/others_used"
        return float(self.values(path, (None,))[-1]) if self.has(path) else math.nan

    def has(self, path: str) -> bool:
        """Return whether there is such an attribute, group or dataset."""
        return path in self._file.attrs or isinstance(
            self._file.get(path, getlink=True), h5py.HardLink
        )

    def texts(self, path: str) -> Iterator[str]:
        """Yield the texts of a dataset."""
        return texts(dataset(self._file, path, path))

    def labels(self, path: str) -> tuple[str, ...]:
        """Return a dataset's texts, or its numbers as texts."""
        if h5py.check_string_dtype(dataset(self._file, path, path).dtype) is None:
            return tuple(map(str, self.values(path, (None,)).tolist()))
        return tuple(self.texts(path))

    def values(self, path: str, shape: tuple[int | None, ...]) -> Array:
        """Return a dataset's numbers; None in ``shape`` stands for any length from 1."""
        numbers = dataset(self._file, path, path)
        numeric(numbers.dtype, path)
        same = len(numbers.shape) == len(shape) and all(
            size == wanted or (wanted is None and size)
            for size, wanted in zip(numbers.shape, shape, strict=True)
        )
        if not same:
            raise DataError(f"{path}: has shape {numbers.shape}, expected {shape}")
        values: Array = np.asarray(numbers[()])
        return values

    def times(self, path: str, shape: tuple[int | None, ...]) -> Array:
        """Return values that must be finite and not negative."""
        values = self.values(path, shape)
        if not ((values >= 0) & (values < np.inf)).all():
            raise DataError(f"{path}: expected finite numbers, 0 or more")
        return values
