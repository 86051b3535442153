"""Hostile checkpoints behind a seal that is right, so that their content is decoded."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from hpcpgd.checkpoint.checkpoint_folder import load
from hpcpgd.checkpoint.codec import decode, encode
from hpcpgd.checkpoint.resume import changes, plain, require_same_run
from hpcpgd.checkpoint.seal import seal
from hpcpgd.checkpoint.state import State
from hpcpgd.config.resolve import resolve
from hpcpgd.data import Dataset, Split
from hpcpgd.kernels.core.network import Network
from hpcpgd.reductions.traffic import step_products
from hpcpgd.results.history import Epoch, History, Timing
from hpcpgd.results.record import RankPlace, RunRecord, Scores, Segment
from hpcpgd.results.runfile import write_run_file
from tests.faults.hostile.damage import damaged, weighted
from tests.faults.hostile.format import Files, UnsoundError
from tests.faults.hostile.hdf5 import harmed

NETWORK = Network((3, 2, 2), "float32", "tanh", "softmax", "cross-entropy")
NAME = "run-step-1.ckpt.h5"
VALUES = (
    "0", "-1", "1", "2", "1.5", "null", "true", "[]", "{}", '""', '"x"', "NaN", "Infinity",
    "1e400", "9" * 4000,
    "9" * 5000, "[" * 5000 + "]" * 5000, "[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000,
    "[3, 2, 2]", "[3.7, 2, 2]",
    "[3, 2]", "[2, 3, 2, 2]", "[-3, 2, 2]", "[3]", "[4000000000, 2, 2]", "[" + "1," * 5000 + "1]",
    "[true, 2, 2]",
    '"float32"', '"float64"', '"object"', '"a"', '"f4,O"', '"float16"', '"\\ud800"',
    '"a\\nb\\u001b[2J"', '"\\u0000"',
    '"' + "x" * 50_000 + '"', '[["f4", "f4"]]', '"softmax"', "100000000000000000000",
    "9223372036854775807", '["a"]',
)  # fmt: skip


def make_state(epochs: int) -> State:
    places = [RankPlace("host", "cpu", "0", "none")] * 2
    timing = Timing([1], [np.ones((2, 5))], [np.array([3, 4])])
    segments = [
        Segment(
            1, 9, "2026-01-01T00:00:00+00:00", 2, 1, 1, "gemm", "shared", "0.1", "MPI", "BLAS",
            "3", "2", "0", "none", "none", "host", 0, 0.5, False, 2, 0, float("nan"), places, taken,
        ) for taken in (timing, Timing())
    ]  # fmt: skip
    return State(
        run="run", run_file="/r.h5", config=plain(resolve(GIVEN, {})), dataset_sha256="ab",
        facts={"the BLAS": "x"}, network=NETWORK, steps=2 * epochs, elapsed=0.25,
        totals=np.ones((1, 8)),
        parameters=NETWORK.zeros(), states=np.zeros((0, NETWORK.size)), segments=segments,
        history=History([Epoch(0.5, 0.25, 0.3, float("nan"), 1.0, 0.5, 3.0, 4.0, 0.1, 2)] * epochs),
    )  # fmt: skip


GIVEN = {"epochs": 2, "hidden": (2,), "threads": 1, "batch_size": 4, "reduction": "allreduce"}
CONFIG = resolve(GIVEN, {})
GOOD = bytes(encode(make_state(1)))
SEGMENTS = repr(decode(memoryview(GOOD)).segments)
with h5py.File(io.BytesIO(GOOD)) as _file:
    FACTS = json.loads(bytes(_file["facts"][()]))


def _places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of everything in nested JSON."""
    items: Any = enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict):
        items = value.items()
    found = [path] if path else []
    return found + [place for key, inner in items for place in _places(inner, (*path, key))]


PLACES = _places(FACTS)


def _said(changes: list[tuple[tuple[str | int, ...], str | None]]) -> bytes:
    """Return a good file with other facts: values changed to a text of JSON, or removed."""
    facts = json.loads(json.dumps(FACTS))
    texts: dict[str, str] = {}
    for number, (path, text) in enumerate(changes):
        here = facts
        try:
            for key in path[:-1]:
                here = here[key]
            if text is None:
                del here[path[-1]]
            else:
                here[path[-1]] = f"@{number}"
                texts[f'"@{number}"'] = text
        except (KeyError, IndexError, TypeError):  # gone with an earlier change
            continue
    said = json.dumps(facts)
    for mark, text in texts.items():
        said = said.replace(mark, text)
    return _with_facts(np.bytes_(said.encode()))


def _with_facts(value: object) -> bytes:
    place = io.BytesIO(GOOD)
    with h5py.File(place, "r+") as file:
        del file["facts"]
        file["facts"] = value
    return place.getvalue()


_change = st.tuples(st.sampled_from(PLACES), weighted((1, st.none()), (6, st.sampled_from(VALUES))))
_facts = st.lists(_change, min_size=1, max_size=3).map(_said)
_odd = st.sampled_from((
    np.int64(2**40), np.int64(-1), np.int64(2**62), np.zeros(9, "u1"), np.bytes_(b"[]"),
    np.bytes_(b"{" * 90_000),
    np.bytes_(b"\xff\xfe{\x00}\x00"), np.array([b"{}", b"{}"]), np.float64(3), np.bytes_(b"1"),
    np.bytes_(b'"x"'),
)).map(_with_facts)  # fmt: skip


def _sealed(body: bytes) -> bytes:
    return body + seal(len(body), hashlib.sha256(body))


def cases() -> SearchStrategy[Files]:
    """Return one checkpoint each; a few have a broken seal."""
    images = (GOOD, bytes(encode(make_state(0))))
    bodies = weighted((6, harmed(images)), (6, _facts), (1, damaged(_facts, 2, 9)), (1, _odd))
    whole = bodies.map(_sealed)
    return weighted((9, whole), (1, damaged(whole, 2))).map(lambda data: {NAME: data})


def read(folder: Path) -> None:
    """Go on from a checkpoint: what it says goes to other ranks, and into the run's file."""
    state = load(folder / NAME)
    sent = encode(decode(encode(state)))
    if sent != encode(state):
        raise UnsoundError("does not come back the same")
    if state.parameters.dtype.char not in "fd" or state.parameters.shape != (state.network.size,):
        raise UnsoundError(f"parameters {state.parameters.dtype} {state.parameters.shape}")
    require_same_run(None, state, CONFIG, NETWORK, "ab", 2)
    changes(state, CONFIG, {"the BLAS": "y"})
    if repr(state.segments) != SEGMENTS:  # they become part of the run's file
        write_run_file(folder / "run.h5", record(state))


def record(state: State) -> RunRecord:
    """Return the record of a run that a checkpoint is of."""
    train, validation, test = (
        Split(np.zeros((rows, NETWORK.widths[0]), np.uint8), np.zeros(rows, np.int32))
        for rows in (8, 2, 2)
    )
    dataset = Dataset("digits", train, validation, test, NETWORK.widths[-1], 1.0, 0.0, True, "ab")
    return RunRecord(
        state.run, CONFIG, NETWORK, ["--quiet"], "", dataset, state.segments,
        step_products(NETWORK, 4), np.zeros(3, np.int64), state.history, "complete",
        state.parameters, Scores(0.5, 0.5, np.ones((2, 2), np.int64)),
    )  # fmt: skip
