"""Studies as a user runs them: planned, run, collected, reported."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hpcpgd.study import cli, run_command
from tests.helpers.support import Done, inside, python

SMALL = """
[study]
name = "small"
kind = "strong"
repeats = 3
time_limit = "60s"
[grid]
ranks = [1, 2, 3]
[train]
dataset = "digits"
epochs = 2
threads = 1
"""
PAIRS = """
[study]
repeats = 1
[grid]
learning_rate = [0.1, 0.2]
dtype = ["float32", "float64"]
[train]
epochs = 1
hidden = [4]
threads = 1
"""
# As the contract lists them.
COLUMNS = """
paper_row backend reduction network dataset dtype precision rows batch_size ranks threads nodes
group_size repeat epochs tpe_seconds gflop_per_epoch gflops compute_s reduce_s wait_s data_s
update_s oversubscribed status error hostname cpu_model gpu_model params_sha256 run_file_sha256
"""


def study(folder: Path, *words: str, timeout: float = 120) -> Done:
    """Run ``hpcpgd study`` as users start it."""
    return python("-m", "hpcpgd.study", *words, cwd=folder, timeout=timeout)


def here(folder: Path, *words: str) -> Done:
    """Run a command of ``hpcpgd study`` that makes no runs in this process."""
    return inside(folder, cli.main, *words)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study, run and collected."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(SMALL)
    done = study(folder, "run", "small.toml", "--no-report")
    assert (done.code, done.out) == (0, "9 of 9 runs ended well; in hpcpgd-study-small\n"), done.err
    # No terminal: a line for each run, after what fewer than 3 cores are warned of.
    *_, before, last = lines = re.sub("^warning: .*\n", "", done.err).splitlines()
    assert len(lines) == 9
    assert re.fullmatch(
        r"run 8 of 9: gemm 32 batch 32, 2 ranks: [\d.]+ m?s an epoch; about \d+ s left", before
    )
    assert re.fullmatch(r"run 9 of 9: gemm 32 batch 32, 3 ranks: [\d.]+ m?s an epoch", last)
    study(folder, "collect", "small.toml", "--label", "box").good()
    return folder


def test_plan_tells_costs_before_and_progress_after(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "small.toml").write_text(SMALL)
    done = study(tmp_path, "plan", "small.toml").good()
    lines = done.out.splitlines()
    assert lines[1].split()[-1] == "0/3"
    assert "about 3 s" in lines[1]
    assert "  all points: 1x1, 2x1, 3x1 against 1x1" in lines
    assert "3 points x 3 repeats" in lines[-1]
    assert list(tmp_path.iterdir()) == [tmp_path / "small.toml"]
    assert here(finished, "plan", "small.toml").out.count("3/3") == 3


def test_the_study_file_holds_every_run(finished: Path) -> None:
    path = finished / "hpcpgd-study-small" / "study.h5"
    with h5py.File(path) as file:
        assert file.attrs["schema"] == "hpcpgd.study/1"
        runs = file["runs"]
        for column in COLUMNS.split():
            assert runs[column].shape == (9,), column
        assert runs["tpe_seconds"].attrs["units"] == "s"
        assert sorted(zip(runs["ranks"][...], runs["repeat"][...], strict=True)) == [
            (ranks, repeat) for ranks in (1, 2, 3) for repeat in (1, 2, 3)
        ]
        assert set(runs["machine"].asstr()) == {"box"}
        assert (runs["epochs"][...] == 1).all()  # the first of two warms up
        assert set(runs["rows"][...]) == {1250}
        hashes = set(runs["params_sha256"].asstr()[runs["ranks"][...] == 1])
        assert len(hashes) == 1
        summary = file["summary"]
        assert list(summary["ranks"][...]) == [1, 2, 3]
        low, middle, high = (summary[n][...] for n in ("ci_low", "median", "ci_high"))
        assert (low <= middle).all()
        assert (middle <= high).all()
        assert list(summary["base"].asstr()) == ["gemm allreduce 1x1"] * 3
        assert summary["speedup"][0] == 1
        digests = runs["run_file_sha256"].asstr()[...].tolist()
        seconds = dict(zip(digests, runs["tpe_seconds"], strict=True))
    for run_file in (path.parent / "runs").glob("*.h5"):
        with h5py.File(run_file) as run:
            digest = hashlib.sha256(run_file.read_bytes()).hexdigest()
            assert seconds[digest] == run["history/epoch_seconds"][1]


def test_xarray_and_pandas_read_it_in_three_lines(finished: Path) -> None:
    path = finished / "hpcpgd-study-small" / "study.h5"
    tree = xr.open_datatree(path, engine="h5netcdf")
    frame = tree["runs"].to_dataset().to_dataframe()
    assert isinstance(frame, pd.DataFrame)
    middle = frame.groupby("ranks")["tpe_seconds"].median()
    np.testing.assert_allclose(middle, tree["summary/median"])
    tree.close()


def test_two_machines_stand_apart(finished: Path, tmp_path: Path) -> None:
    place = str(finished / "hpcpgd-study-small")
    shutil.copytree(place, tmp_path / "other")
    words = ("--folder", place, "--label", "one", "--also", "two=other", "--output", "both.h5")
    done = here(tmp_path, "collect", str(finished / "small.toml"), *words).good()
    assert "18 of 18 runs" in done.out
    with h5py.File(tmp_path / "both.h5") as file:
        assert list(file["summary/machine"].asstr()) == ["one"] * 3 + ["two"] * 3
    here(tmp_path, "report", "both.h5", "--figures", "f").ended(0)
    assert (tmp_path / "f" / "scaling-2.png").exists()
    # A folder's study file is renewed, without the runs that were added to it.
    shutil.move(tmp_path / "both.h5", tmp_path / "other" / "study.h5")
    next((tmp_path / "other" / "runs").glob("*-r3-*")).unlink()
    done = here(tmp_path, "report", "other").good()
    assert "9 runs of two stay as collect --also has added them\n17 of 18 runs in" in done.out
    with h5py.File(tmp_path / "other" / "study.h5") as file:
        assert list(file["summary/repeats"][...]) == [3, 3, 2, 3, 3, 3]
        assert list(file["summary/machine"].asstr()) == ["one"] * 3 + ["two"] * 3
    (tmp_path / "other" / "study.h5").write_text("damaged")
    says = ("study.h5: is no HDF5 file", "; hpcpgd study collect makes it anew")
    here(tmp_path, "report", "other").one_line(65, *says)


def test_run_ends_with_a_report_and_needs_no_matplotlib_for_its_tables(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All runs are done: none is started here."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    place = tmp_path / "hpcpgd-study-small"
    (place / "study.h5").unlink()
    name = next((place / "runs").glob("*.h5")).stem
    assert here(tmp_path, "run", "small.toml", "--task", name).code == 0
    assert not (place / "study.h5").exists()
    monkeypatch.setattr(run_command, "usable_cores", lambda: 2)
    done = here(tmp_path, "run", "small.toml", "--folder", str(place))
    done.one_line(0)
    assert done.err.startswith("warning: up to 3 ranks x threads on the 2 cores here")
    assert "9 of 9 runs in" in done.out
    assert "without compilation; the first epoch is left out where more were run" in done.out
    names = {path.name for path in (place / "figures").iterdir()}
    assert names == {"scaling.png", "scaling.pdf", "phases.png", "phases.pdf"}
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    done = here(tmp_path, "run", "small.toml")
    assert (done.code, done.err.count("\n")) == (0, 2)
    assert "no figures: matplotlib cannot be loaded" in done.err
    assert "load balance" in done.out


def test_disturbed_runs_are_made_again(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    files = sorted((tmp_path / "hpcpgd-study-small" / "runs").glob("*-r1-*.h5"))
    for path, used in zip(files, (1.5, 0.0, np.nan), strict=True):
        with h5py.File(path, "r+") as file:
            file["segments/others_used"][...] = used
    before = [path.read_bytes() for path in files]
    words = ("run", "small.toml", "--no-report", "--retry-disturbed")
    assert study(tmp_path, *words).code == 0
    assert [p.read_bytes() == b for p, b in zip(files, before, strict=True)] == [False, True, True]


def test_a_study_that_is_not_finished_shows_what_is_missing(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    place = tmp_path / "hpcpgd-study-small"
    for path in [*place.glob("runs/*-r3-*"), *place.glob("runs/*-r2-*-001.h5")]:
        path.unlink()
    assert "5 of 9 runs in" in here(tmp_path, "collect", "small.toml").out
    with h5py.File(place / "study.h5") as file:
        assert file["runs/repeat"].shape == (5,)
        assert list(file["summary/ranks"][...]) == [1, 2, 3]
        assert list(file["summary/repeats"][...]) == [3, 2, 0]
        assert set(file["runs/logical_cores"][...]) == {len(os.sched_getaffinity(0))}
    said = here(tmp_path, "status", "small.toml").out
    assert said.count("not done: run again") == 4
    (elsewhere := tmp_path / "elsewhere").mkdir()
    for given in (place / "study.h5", place, tmp_path / "small.toml"):
        done = here(elsewhere, "report", str(given), "--format", "svg", "--size", "8x4.5").good()
        assert "missing: none of 3 runs has ended well" in done.out
        assert ("5 of 9 runs in" in done.out) == (given != place / "study.h5")
        assert {p.name for p in (place / "figures").iterdir()} == {"scaling.svg", "phases.svg"}
        shutil.rmtree(place / "figures")
    shutil.copy(place / "small.toml", place / "other.toml")
    done = here(tmp_path, "report", str(place))
    done.one_line(65, "holds other.toml, small.toml, expected the one study")


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("runn", "s.toml"), 2, "did you mean 'run'"),
        (("run", "none.toml"), 78, "cannot be read"),
        (("collect", "s.toml"), 65, "run it first"),
        (("report", "none.h5"), 65, "no such file"),
        (("report", "s.toml"), 65, "run it first, or name the folder of its runs"),
        (("report", "runs"), 65, "holds no TOML file"),
        (("report", "words.h5"), 65, "is no HDF5 file, expected a study file"),
        (("report", "s.h5", "--size", "7"), 2, "expected width x height in inches"),
        (("report", "s.h5", "--size", "7x400"), 2, "each from 3 to 100"),
        (("report", "s.h5", "--format", "png,gif"), 2, "png,gif: expected one or several of"),
        (("collect", "s.toml", "--also", "x"), 2, "LABEL=DIR"),
        ((), 2, "COMMAND"),
    ],
)
def test_one_line_for_each_mistake(
    words: tuple[str, ...], code: int, hint: str, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text("[grid]\nranks = [1]\n")
    (tmp_path / "words.h5").write_text("words")
    (tmp_path / "runs").mkdir()
    here(tmp_path, *words).one_line(code, hint)


@pytest.mark.parametrize(
    ("flags", "code", "word"),
    [
        (["--also", "two=nothing"], 65, "no folder of a study's runs"),
        (["--also", "two=hpcpgd-study-small"], 2, "these runs are already in"),
        (["--label", "one", "--also", "one=other"], 2, "another machine has this label"),
        (["--output", "small.toml"], 74, "is the study file itself"),
    ],
)
def test_what_collect_refuses(finished: Path, flags: list[str], code: int, word: str) -> None:
    shutil.copytree(finished / "hpcpgd-study-small", finished / "other", dirs_exist_ok=True)
    before = (finished / "hpcpgd-study-small" / "study.h5").read_bytes()
    here(finished, "collect", "small.toml", *flags).one_line(code, word)
    assert (finished / "hpcpgd-study-small" / "study.h5").read_bytes() == before
    assert "[study]" in (finished / "small.toml").read_text()


def test_the_run_of_another_point_is_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "hpcpgd-study-small", tmp_path / "runs")
    files = sorted((tmp_path / "runs" / "runs").glob("*-001.h5"))
    shutil.copyfile(files[1], files[0])
    path = str(finished / "small.toml")
    done = here(tmp_path, "collect", path, "--folder", "runs", "--output", "s.h5")
    done.one_line(65, "the run of another point")


def test_a_base_can_name_any_key_and_no_path_leaves_the_machine(tmp_path: Path) -> None:
    data = tmp_path / "secret" / "data.csv"
    data.parent.mkdir()
    data.write_text("".join(f"{i % 7},{i % 5},{i % 2}\n" for i in range(60)))
    text = PAIRS.replace('dtype = ["float32", "float64"]', f'dataset = ["{data}", "digits"]')
    text += "[base]\nlearning_rate = 0.2\n"
    (tmp_path / "pairs.toml").write_text(text)
    done = study(tmp_path, "run", "pairs.toml").ended(0)
    heads = [line for line in done.out.splitlines() if "learning_rate" in line]
    assert ["validation accuracy" in head for head in heads] == [True, False]
    assert done.out.count("data.csv (") == 4  # two tables of what differs in anything
    assert done.out.count("nothing left out to warm up") == 4  # of a single epoch
    path = tmp_path / "hpcpgd-study-pairs" / "study.h5"
    with h5py.File(path) as file:
        setting = list(file["summary/setting"].asstr())
        speedup = file["summary/speedup"][...]
        assert np.isfinite(speedup).all()
        assert all(s == 1 for s, t in zip(speedup, setting, strict=True) if "0.2" in t)
    assert b"secret" not in path.read_bytes()
