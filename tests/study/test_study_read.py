"""What a study reads from run files with hand-made numbers, and from files of other kinds."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpcpgd.config.resolve import resolve
from hpcpgd.errors import DataError
from hpcpgd.study import collect
from hpcpgd.study.foreground import execute_all
from hpcpgd.study.grid import Point
from hpcpgd.study.launchers import Launcher
from hpcpgd.study.paper.contest import read_library_row
from hpcpgd.study.paper.paper_table import ROW
from hpcpgd.study.read_run import read_row
from hpcpgd.study.rows import Row
from hpcpgd.study.runner import order
from hpcpgd.study.study_folder import Failure, Job, StudyFolder
from hpcpgd.study.studyfile import StudyFile
from hpcpgd.study.tables import others_note, remarks
from tests.helpers.support import python
from tests.study.test_study_paper import row

GIVEN: dict[str, Any] = {"epochs": 4, "hidden": (4,), "threads": 1, "batch_size": 100}
POINT = Point(2, resolve(GIVEN, {}), tuple(sorted(GIVEN.items())))


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 2 ranks and 4 epochs whose times are made up."""
    path = tmp_path_factory.mktemp("run") / "r.h5"
    words = ("-m", "hpcpgd.train", *POINT.flags(), "--quiet", "--output", str(path))
    assert python(*words, ranks=2).code == 0
    with h5py.File(path, "r+") as file:
        file["history/epoch_seconds"][...] = [90.0, 9.0, 12.0, 6.0]
        # data, compute, reduce, wait, update of each rank and epoch
        file["timing/segment1/seconds"][...] = [
            [[9, 9, 9, 9, 9], [9, 9, 9, 9, 9]],
            [[1, 4, 1, 2, 1], [1, 2, 1, 4, 1]],
            [[2, 5, 1, 2, 2], [1, 3, 1, 5, 2]],
            [[1, 2, 1, 1, 1], [1, 1, 1, 2, 1]],
        ]
        file["segments/oversubscribed"][...] = 1
    return path


def test_a_run_file_is_no_study_file(run_file: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[grid]")
    seen = {
        run_file: f"a run file, expected a study file: hpcpgd plot {run_file} reads it",
        tmp_path / "s.toml": "no HDF5 file, expected a study file",
    }
    for path, text in seen.items():
        expected = f"{path}: is {text}"
        with pytest.raises(DataError, match=re.escape(expected)):
            collect.read(path)


def test_a_study_file_without_what_was_asked_shows_what_it_became(tmp_path: Path) -> None:
    collect.write(tmp_path / "s.h5", StudyFile("s"), [replace(OWN, reduction="shared")], 1)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        assert file["summary/asked_reduction"].asstr()[0] == "auto"  # OWN was given nothing
        del file["summary/asked_reduction"]
    assert collect.read(tmp_path / "s.h5")[2][0].asked_reduction == "shared"


def test_medians_over_the_counted_epochs(run_file: Path) -> None:
    found = read_row(run_file, POINT, 1, 1, "m")
    assert (found.epochs, found.tpe_seconds, found.cold) == (3, 9.0, False)
    phases = (found.data_s, found.compute_s, found.reduce_s, found.wait_s, found.update_s)
    assert phases == (1.0, 3.0, 1.0, 3.0, 1.0)
    assert (found.useful_mean_s, found.useful_max_s) == (5.0, 6.0)  # data, compute, update
    assert found.oversubscribed
    assert read_row(run_file, POINT, 1, 0, "m").epochs == 4
    late = read_row(run_file, POINT, 1, 9, "m")
    assert (late.epochs, late.tpe_seconds, late.cold) == (1, 6.0, True)


def test_the_load_of_others_goes_from_the_run_file_to_the_tables(
    run_file: Path, tmp_path: Path
) -> None:
    rows, path = [], tmp_path / "s.h5"
    for used in (1.5, 0.0, np.nan, None):
        path.write_bytes(run_file.read_bytes())
        with h5py.File(path, "r+") as file:
            del file["segments/others_used"]
            if used is not None:  # else as earlier versions wrote it
                file["segments/others_used"] = [used]
        rows.append(replace(read_row(path, POINT, 1, 1, "m"), key=str(used)))
    collect.write(path, StudyFile("s"), [*rows, replace(rows[0], others_used=1.75)], 5)
    points = collect.read(path)[2]
    assert ["others used 1.8 cores" in remarks(p) for p in points] == [True, False, False, False]
    assert "up to 1.8 cores (points concerned: 1 of 4, " in others_note(points)
    assert "\n2 of 5 runs were too short to see " in others_note(points)
    with h5py.File(path, "r+") as file:
        assert np.array_equal(file["runs/others_used"], [1.5, 0, np.nan, np.nan, 1.75], True)
        for name in ("others_used", "unchecked"):
            del file[f"summary/{name}"]
    assert others_note(points[1:2]) == others_note(collect.read(path)[2]) == ""


def replaced(file: h5py.File, name: str, value: Any) -> None:
    del file[name]
    file[name] = value


def never_written(file: h5py.File) -> None:
    """Eight exabytes are claimed, one chunk is there."""
    del file["history/steps"]
    data = file.create_dataset("history/steps", (2**60,), "i8", chunks=(1,))
    data[0] = 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.attrs.__delitem__("config"),
        lambda file: file.attrs.__setitem__("config", "train = 3"),
        lambda file: file.attrs.__setitem__("train_rows", 0),
        lambda file: file.attrs.__setitem__("status", "running"),
        lambda file: file.__delitem__("history/steps"),
        lambda file: file.__delitem__("segments"),
        lambda file: (file.__delitem__("history"), file.create_dataset("history", data=1)),
        lambda file: file["history/steps"].__setitem__(..., 0),
        lambda file: file["history/epoch_seconds"].__setitem__(..., float("nan")),
        lambda file: file["history/epoch_seconds"].__setitem__(..., 0),
        lambda file: replaced(file, "history/epoch_seconds", [1.0]),
        lambda file: replaced(file, "segments/group_size", np.zeros(0)),
        lambda file: replaced(file, "test/accuracy", np.zeros(3)),
        lambda file: replaced(file, "history/steps", h5py.SoftLink("/history/epoch")),
        lambda file: replaced(file, "history/steps", h5py.ExternalLink("other.h5", "/x")),
        lambda file: replaced(file, "ranks/segment1/host", np.arange(2)),
        lambda file: never_written(file),
        lambda file: file.attrs.__setitem__("ranks", [2]),
        lambda file: file.attrs.__setitem__("ranks", np.arange(3)),
        lambda file: file.attrs.__setitem__("config", "[train]\nepochs = [\n'\\u001b[2J']\n"),
    ],
)
def test_damaged_run_files(damage: Any, run_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.h5"
    path.write_bytes(run_file.read_bytes())
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(DataError, match=r"bad\.h5") as caught:
        read_row(path, POINT, 1, 1, "m")
    assert str(caught.value).isprintable()


def test_a_heap_that_goes_in_a_circle_is_refused(run_file: Path, tmp_path: Path) -> None:
    """libhdf5 would loop for ever at an object of length 0."""
    path, data = tmp_path / "bad.h5", bytearray(run_file.read_bytes())
    begin = data.index(b"GCOL\1\0\0\0") + 16
    length = int.from_bytes(data[begin + 8 : begin + 16], "little")
    second = begin + 16 + -(-length // 8) * 8
    for free, size in ((True, 0), (False, 2**64 - 1), (False, 2**63)):
        if free:
            data[second : second + 2] = bytes(2)
        data[second + 8 : second + 16] = size.to_bytes(8, "little")
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"bad\.h5: is damaged at byte {second}, in a heap"):
            read_row(path, POINT, 1, 1, "m")


OWN: Row = row("gemm serial", "net-1h", 32, 1.0)
RESULT = {"software": "x", "threads": 1, "device": "cpu", "epoch_seconds": {"32": [3, 1, 8]},
          "hostname": "n7", "cpu_model": "Z80"}  # fmt: skip


def test_a_library_s_median(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(RESULT))
    found = read_library_row(path, ROW["PyTorch serial"], OWN, 1)
    assert (found.tpe_seconds, found.epochs, found.steps) == (3.0, 3, 3 * 64)
    assert (found.machine, found.hostname, found.cpu_model) == ("Z80", "n7", "Z80")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", "[" * 200_000, json.dumps({**RESULT, "epoch_seconds": {}}),
        *(json.dumps({**RESULT, "epoch_seconds": {"32": bad}})
          for bad in ([], [0.0], [float("nan")], [10**400], ["x"], 3)),
    ],
)  # fmt: skip
def test_bad_results_of_a_library(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"x\.json"):
        read_library_row(path, ROW["PyTorch serial"], OWN, 1)


@pytest.mark.parametrize("text", ["", "[]", "[" * 200_000, '{"status": 1}', '{"code": 1e999}'])
def test_bad_notes_of_failures(text: str, tmp_path: Path) -> None:
    place = StudyFolder(tmp_path)
    place.make()
    place.failure_file(Job(POINT, 1)).write_text(text)
    with pytest.raises(DataError, match="no note of a failed run"):
        place.read_failure(Job(POINT, 1))


def test_a_program_that_leaves_no_result_has_failed(tmp_path: Path) -> None:
    place = StudyFolder(tmp_path)
    place.make()
    nothing = Launcher(("/bin/true",), in_allocation=False)
    execute_all(place, order([POINT], 1), 20, nothing, 1)
    wanted = Failure("failed", 0, "it ended well and left no result")
    assert place.read_failure(Job(POINT, 1)) == wanted


def test_the_bar_names_the_run_and_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    place = StudyFolder(tmp_path)
    place.make()
    nothing = Launcher(("/bin/true",), in_allocation=False)
    execute_all(place, order([POINT], 1), 20, nothing, 1)
    assert "gemm 4 batch 100, 2 ranks:   0%" in terminal.getvalue()
    assert re.search(r"1/1 \[\d+:\d+<\d+:\d+", terminal.getvalue())
