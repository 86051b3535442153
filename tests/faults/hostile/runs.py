"""Hostile run files and study files, as ``study``, ``info`` and ``compare`` read them."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from hpcpgd.errors import DataError
from hpcpgd.info.differences import differences
from hpcpgd.info.run_page import page
from hpcpgd.results.history import Timing
from hpcpgd.results.runfile import run_on_disk, write_run_file
from hpcpgd.study import collect
from hpcpgd.study.grid import Point
from hpcpgd.study.read_run import read_row
from hpcpgd.study.rows import Row
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.summary import summarise
from tests.faults.hostile.checkpoints import CONFIG, GIVEN, make_state, record
from tests.faults.hostile.format import Files, UnsoundError
from tests.faults.hostile.hdf5 import harmed

POINT = Point(2, CONFIG, tuple(sorted(GIVEN.items())))
STUDY = StudyFile("study", "strong", 2, 1, 60.0, {"ranks": [1, 2]}, {}, {"ranks": 1})


def _run_image(folder: Path) -> bytes:
    state = make_state(2)
    timing = Timing([1, 2], [np.ones((2, 5))] * 2, [np.array([4, 4])] * 2)
    for segment in state.segments:
        segment.timing = timing
    write_run_file(folder / "run.h5", record(state))
    return (folder / "run.h5").read_bytes()


def _images() -> tuple[bytes, bytes]:
    """Return a run file and a study file of the project's own writers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = _run_image(folder)
        row = read_row(folder / "run.h5", POINT, 1, 1, "m")
        collect.write(folder / "study.h5", STUDY, [row, replace(row, repeat=2)], 2)
        return image, (folder / "study.h5").read_bytes()


def cases() -> SearchStrategy[Files]:
    """Return a run file or a study file."""
    run, study = _images()
    return st.one_of(
        harmed((run,)).map(lambda data: {"run.h5": data}),
        harmed((study,)).map(lambda data: {"study.h5": data}),
    )


def read(folder: Path) -> None:
    """Read what is there; what is no file of the run must not stop it either."""
    path = next(folder.iterdir())
    if path.name == "run.h5":
        run_on_disk(path)
        with suppress(DataError):  # they ask for other values
            _check_page(page(path))
            _check_page(differences(path, path))
        _check(read_row(path, POINT, 1, 1, None))
    else:
        _, rows, _ = collect.read(path)
        for row in rows:
            _check(row)
        summarise(rows, STUDY.kind, STUDY.base)


def _check_page(text: str) -> None:
    """Refuse a page that a terminal would not show as such."""
    if not all(len(line) <= 100 and line.isprintable() for line in text.split("\n")):
        raise UnsoundError(f"no page: {text!r:.300}")


def _check(row: Row) -> None:
    """Refuse values of another type than the column's."""
    for column in fields(Row):
        value = getattr(row, column.name)
        if type(value).__name__ != column.type:
            raise UnsoundError(f"{column.name} is {value!r:.80}, no {column.type}")
