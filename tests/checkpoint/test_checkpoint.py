"""Checkpoint files: undamaged or refused, whatever happened to them."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpcpgd.checkpoint import codec
from hpcpgd.checkpoint.checkpoint_folder import KEPT, Folder, load
from hpcpgd.checkpoint.codec import decode, encode
from hpcpgd.checkpoint.seal import content, seal
from hpcpgd.checkpoint.state import State
from hpcpgd.errors import DataError, OutputError
from hpcpgd.kernels.core.network import Network
from hpcpgd.results.history import Epoch, History, Timing
from hpcpgd.results.record import RankPlace, Segment
from tests.helpers.hdf5 import Change, instead, virtual

NETWORK = Network((5, 4, 3), "float32", "tanh", "softmax", "cross-entropy")


def segment(first: int, timed: bool) -> Segment:
    places = [RankPlace("näme", "cpu", "0,1", "none")] * 2
    timing = Timing([1, 3], [np.arange(10.0).reshape(2, 5)] * 2, [np.array([3, 4])] * 2)
    return Segment(
        first, first + 9, "2026-01-01T00:00:00+00:00", 2, 1, 1, "gemm", "shared", "0.1", "MPI",
        "BLAS", "3", "2", "0", "none", "none", "host", 0, 0.5, False, 2, 0, float("nan"), places,
        timing if timed else Timing(),
    )  # fmt: skip


@pytest.fixture
def state() -> State:
    rng = np.random.default_rng(0)
    parameters = NETWORK.filled(rng.normal(size=shape) for shape in ((5, 4), 4, (4, 3), 3))
    epoch = Epoch(0.5, 0.25, 0.1 + 0.2, float("nan"), 1.0, 0.5, 3.0, 4.0, 0.1, 10)
    return State(
        run="0a1b2c3d", run_file="/some where/run.h5", config={"seed": 3, "hidden": [4]},
        dataset_sha256="ab" * 32, facts={"the BLAS": "x"}, network=NETWORK, steps=17,
        elapsed=0.25, totals=rng.normal(size=(3, 8)), parameters=parameters,
        states=rng.normal(size=(2, NETWORK.size)).astype(np.float32),
        history=History([epoch]), segments=[segment(1, True), segment(11, False)],
    )  # fmt: skip


def sealed(body: bytes) -> bytes:
    return body + seal(len(body), hashlib.sha256(body))


def test_what_is_written_comes_back(state: State) -> None:
    state.segments[0].others_used, state.segments[0].precision = 1.5, "bf16"
    found = decode(encode(state))
    assert np.array_equal(found.parameters, state.parameters)
    assert np.array_equal(found.totals, state.totals)
    assert np.array_equal(found.states, state.states)
    for mine, theirs in zip(state.segments, found.segments, strict=True):
        assert np.array_equal(np.array(mine.timing.seconds), np.array(theirs.timing.seconds))
        assert np.array_equal(np.array(mine.timing.rows), np.array(theirs.timing.rows))
        assert mine.timing.epochs == theirs.timing.epochs
    plain = [
        repr(replace(s, parameters=NETWORK.zeros(), totals=np.zeros(0))) for s in (state, found)
    ]  # NaN is not equal to NaN, but its text is
    assert plain[0].replace(" ", "") == plain[1].replace(" ", "")


def test_a_checkpoint_of_a_version_that_measured_no_load_of_others(state: State) -> None:
    with h5py.File(image := io.BytesIO(encode(state)), "r+") as file:
        _facts(lambda text: re.sub(rb', "others_used": [^}]*?"precision": ""', b"", text))(file)
    assert np.isnan(decode(image.getbuffer()).segments[0].others_used)


def test_h5py_opens_it(state: State, tmp_path: Path) -> None:
    path = Folder(tmp_path).save(state)
    with h5py.File(path) as file:
        assert file.attrs["schema"] == "hpcpgd.checkpoint/2"
        assert np.array_equal(file["model/layer1/weights"], NETWORK.weights(state.parameters, 1))
    assert load(path).steps == 17


def test_what_is_cut_off_or_changed_is_refused(state: State, tmp_path: Path) -> None:
    data = Folder(tmp_path).save(state).read_bytes()
    assert len(content(data)) < len(data)
    for length in [*range(0, len(data), 512), *range(len(data) - 70, len(data))]:
        with pytest.raises(DataError, match="is cut off"):
            content(data[:length])
    rng = np.random.default_rng(1)
    for place in rng.integers(0, 8 * len(data), 1000):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << (place % 8)
        with pytest.raises(DataError):
            content(bytes(changed))
    for more in (b"\0", data):
        with pytest.raises(DataError):
            content(data + more)


def _soft(file: h5py.File) -> None:
    file["totals2"] = file["totals"][...]
    del file["totals"]
    file["totals"] = h5py.SoftLink("/totals2")


def _facts(change: Callable[[bytes], bytes]) -> Change:
    return lambda file: instead("facts", np.bytes_(change(bytes(file["facts"][()]))))(file)


def _replaced(old: bytes, new: bytes) -> Change:
    return _facts(lambda text: text.replace(old, new))


def _cut(file: h5py.File) -> None:
    instead("timing/segment1/seconds", file["timing/segment1/seconds"][:, :, :4])(file)


def _same(file: h5py.File) -> None:
    """A thousand segments that share the data of the first claim more than the file has."""
    facts = json.loads(bytes(file["facts"][()]))
    facts["segments"] = facts["segments"][:1] * 1000
    instead("facts", np.bytes_(json.dumps(facts).encode()))(file)
    group = file["timing/segment1"]
    del group["seconds"]
    group["seconds"] = np.zeros((2, 2, 5))
    for number in range(2, 1001):
        file[f"timing/segment{number}"] = group
    del group["epoch"], group["rows"]
    file["big"] = np.zeros((2000, 2, 5))
    group["epoch"], group["rows"] = np.arange(2000), np.zeros((2000, 2), np.int64)
    del group["seconds"]
    group["seconds"] = file["big"]


HOSTILE: dict[str, Change] = {
    "soft link": _soft,
    "external link": instead("model", h5py.ExternalLink("other.h5", "/model")),
    "virtual": virtual("totals", (3, 8)),
    "objects": instead("facts", "text of any length"),
    "never written": instead("totals", (2**40, 8), "f8", chunks=(1, 8)),
    "compressed": instead("totals", data=np.zeros((10**5, 8)), compression="gzip"),
    "no json": _facts(lambda text: b"{" * 100_000),
    "a list": _facts(lambda text: b"[]"),
    "other widths": _replaced(b"[5, 4, 3]", b"[5, 4, 4]"),
    "huge widths": _replaced(b"[5, 4, 3]", b"[4000000000, 4, 3]"),
    "no widths": _replaced(b"[5, 4, 3]", b"[]"),
    "negative widths": _replaced(b"[5, 4, 3]", b"[-5, 4, 3]"),
    "unknown dtype": _replaced(b"float32", b"object "),
    "ranks are text": _replaced(b'"ranks": 2', b'"ranks": ""'),
    "a host is a number": _replaced(b'"cpu"', b"7"),
    "steps are text": _replaced(b'"steps": 17', b'"steps": "x"'),
    "segments missing": _replaced(b'"segments"', b'"segmente"'),
    "schema": _replaced(b"hpcpgd.checkpoint/2", b"hpcpgd.run/2"),
    "a number for the facts": instead("facts", np.int64(2**40)),
    "numbers for the facts": instead("facts", np.zeros(9, "u1")),
    "a run elsewhere": _replaced(b"0a1b2c3d", b"../0a1b2"),
    "steps beyond 64 bits": _replaced(b'"steps": 17', b'"steps": ' + b"9" * 20),
    "negative steps": _replaced(b'"steps": 17', b'"steps": -7'),
    "an unknown function": _replaced(b'"tanh"', b'"tonh"'),
    "an alias of numpy": _replaced(b'"float32"', b'"a"'),
    "half a letter": _replaced(b'"cpu"', b'"\\ud800"'),
    "a zero byte": _replaced(b'"cpu"', b'"\\u0000"'),
    "no ranks": _facts(lambda text: re.sub(rb'"places": \[.*?\]', b'"places": []', text)),
    "no segments": _facts(lambda text: re.sub(rb'"segments": .*', b'"segments": []}', text)),
    "fewer phases": _cut,
    "the same twice": _same,
    "nothing": h5py.File.clear,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_sealed_file_made_to_do_harm_is_refused(name: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / "bad-step-1.ckpt.h5"
    path.write_bytes(encode(state))
    with h5py.File(path, "r+") as file:
        HOSTILE[name](file)
    path.write_bytes(sealed(path.read_bytes()))
    with pytest.raises(DataError, match=r"checkpoint .*bad-step-1"):
        load(path)


@pytest.mark.parametrize("rows", ["all", 3000])
def test_rows_that_an_older_version_counted_otherwise(
    rows: str | int, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "SCHEMA", "hpcpgd.checkpoint/1")
    old = encode(replace(state, config={**state.config, "train_rows": rows}))
    monkeypatch.undo()
    if rows == "all":
        assert decode(old).steps == 17
    else:
        with pytest.raises(DataError, match="--train-rows 3000 counted the validation rows"):
            decode(old)


def test_no_hdf5_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x-step-1.ckpt.h5"
    for body in (b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(500)):
        path.write_bytes(sealed(body))
        with pytest.raises(DataError):
            load(path)
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "none.ckpt.h5")


def newest(folder: Folder) -> tuple[Path, State]:
    found = folder.newest()
    assert found is not None
    return found


def save(folder: Folder, state: State, steps: int) -> Path:
    path = folder.save(replace(state, steps=steps))
    os.utime(path, (steps, steps))
    return path


def test_three_are_kept_of_each_run(state: State, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "made")
    other = save(folder, replace(state, run="another0"), 1)
    paths = [save(folder, state, steps) for steps in range(10, 60, 10)]
    assert folder.newest_first() == [*paths[:1:-1], other]
    assert KEPT == 3


def test_old_ones_that_cannot_be_listed_or_removed_end_nothing(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    for name in ("unlink", "glob"):
        monkeypatch.setattr(Path, name, fail)
        for steps in (10, 20, 30, 40):
            assert load(folder.save(replace(state, steps=steps))).steps == steps
    monkeypatch.undo()
    assert len(folder.newest_first()) == 4


def test_a_damaged_one_is_told_of_and_passed_over(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path)
    assert folder.newest() is None
    older, newer = save(folder, state, 10), save(folder, state, 20)
    newer.write_bytes(newer.read_bytes()[:-1])
    path, found = newest(folder)
    assert (path, found.steps) == (older, 10)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "warning" in error
    assert newer.name in error
    older.write_bytes(b"")
    with pytest.raises(DataError, match="none of its 2 checkpoints is whole"):
        folder.newest()


def test_more_steps_in_an_older_file_are_told_of(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path)
    more, less = (folder.save(replace(state, steps=steps)) for steps in (20, 10))
    for age, path in enumerate((less, more)):  # as a copy may have it
        os.utime(path, (100 - age, 100 - age))
    assert newest(folder)[0] == less
    assert f"{less} was written last, but {more.name} has more steps" in capsys.readouterr().err
    renamed = less.rename(tmp_path / "my-step-one.ckpt.h5")
    assert newest(folder)[0] == renamed
    assert capsys.readouterr().err == ""


def test_a_clock_that_was_wrong_hides_and_drops_nothing(state: State, tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for steps in (10, 20, 30):
        path = save(folder, state, steps)
        os.utime(path, (4e9 + steps, 4e9 + steps))  # in the year 2096
    for steps in (40, 50):
        path = folder.save(replace(state, steps=steps))
        assert folder.newest_first()[0] == path
        assert newest(folder)[1].steps == steps
    assert len(folder.newest_first()) == KEPT


def test_a_link_that_leads_nowhere_is_told_of_and_passed_over(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Folder(tmp_path)
    (tmp_path / "zz-step-000000000001.ckpt.h5").symlink_to("nowhere")
    for steps in (10, 20, 30, 40):
        path = folder.save(replace(state, steps=steps))
    assert len(folder.newest_first()) == KEPT + 1
    path.unlink()
    path.symlink_to("nowhere")
    assert newest(folder)[1].steps == 30
    assert f"{path}: no such file" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(state: State, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--checkpoint-dir"):
        Folder(tmp_path / "file" / "under").save(state)
