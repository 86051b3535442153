"""Encode the content of a checkpoint as HDF5, and decode it.

Everything is a plain, contiguous dataset in the file itself.  A reader thus never allocates
more than the size of the file, and a malicious file cannot lead to other files.
"""

from __future__ import annotations

import io
import json
import os
import re
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import h5py
import numpy as np

from hpcpgd.checkpoint.state import State
from hpcpgd.data import safe_hdf5
from hpcpgd.data.guard import one_line
from hpcpgd.errors import DataError
from hpcpgd.kernels.core.network import Array, Network
from hpcpgd.kernels.core.workspace import TOTALS
from hpcpgd.parallel.phase_names import PHASES
from hpcpgd.results.history import Epoch, History, Timing
from hpcpgd.results.record import RankPlace, Segment

SCHEMA = "hpcpgd.checkpoint/2"
# It has the same layout, but its ``train_rows`` includes a validation set drawn from the rows.
SCHEMA_BEFORE = "hpcpgd.checkpoint/1"
BEST = "best_model"  # the group of the best weights, if the run keeps them
ALL_TIME = 1e10  # seconds: more than any run takes
FACTS = {
    "run": str, "run_file": str, "dataset_sha256": str, "steps": int, "elapsed": float,
    "config": dict, "facts": dict,
}  # fmt: skip
EPOCH: Any = np.dtype([(f.name, "i8" if f.type == "int" else "f8") for f in fields(Epoch)])
KINDS = {"int": int, "float": float, "str": str, "bool": bool}
SEGMENT = {f.name: KINDS.get(str(f.type), list) for f in fields(Segment) if f.name != "timing"}
PLACE = dict.fromkeys((field.name for field in fields(RankPlace)), str)


def encode(state: State) -> memoryview:
    """Return the content of a checkpoint file."""
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        # For other tools.  We read the schema among the facts: a text of variable length is in
        # a heap, and a malicious heap makes HDF5 loop for ever.
        file.attrs["schema"] = SCHEMA
        facts = {"schema": SCHEMA} | {name: getattr(state, name) for name in FACTS}
        facts["network"] = asdict(state.network)
        facts["segments"] = [_segment_facts(segment) for segment in state.segments]
        file["facts"] = np.bytes_(json.dumps(facts).encode())
        file["totals"] = state.totals
        if state.states.size:
            file["optimiser"] = state.states
        file["history"] = _table(state.history)
        for number, segment in enumerate(state.segments, 1):
            if segment.timing.epochs:
                timing = file.create_group(f"timing/segment{number}")
                timing["epoch"] = np.array(segment.timing.epochs, np.int64)
                timing["seconds"], timing["rows"] = segment.timing.seconds, segment.timing.rows
        for group, flat in (("model", state.parameters), (BEST, state.best)):
            if flat is not None:
                for name, part in state.network.parts(flat).items():
                    file[f"{group}/{name}"] = part
    return image.getbuffer()


def _table(history: History) -> Array:
    """Return a row for each epoch."""
    table: Array = np.empty(len(history), EPOCH)
    for name in EPOCH.names:
        table[name] = history.column(name)
    return table


def decode(content: memoryview) -> State:
    """Return the state of which ``content`` is the encoding.

    Raises
    ------
    DataError
        For anything that ``encode`` does not write.
    """
    try:
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fapl_core(backing_store=False)
        access.set_file_image(content)
        with h5py.File(h5py.h5f.open(b"checkpoint", h5py.h5f.ACC_RDONLY, access)) as file:
            return _decode(_Content(file, len(content)))
    except DataError:
        raise
    except Exception as error:  # whatever h5py, json or a constructor raises for bad content
        raise DataError(f"cannot be read: {one_line(error)}") from None


@dataclass
class _Content:
    """A file, and the number of its bytes not yet read: no two datasets may share bytes."""

    file: h5py.File
    left: int

    def dataset(self, path: str) -> h5py.Dataset:
        """Return a dataset whose values are in this file, contiguous and unfiltered."""
        dset = safe_hdf5.dataset(self.file, path, path)
        nbytes = dset.size * dset.dtype.itemsize
        if dset.dtype.kind not in "iufSV" or dset.chunks or dset.id.get_storage_size() != nbytes:
            raise DataError(f"{path}: expected plain numbers or text, stored in one piece")
        self.left -= nbytes
        if self.left < 0:
            raise DataError(f"{path}: its datasets together are larger than the file")
        return dset

    def array(self, name: str, dtype: Any, shape: tuple[int | None, ...]) -> Array:
        """Return a dataset's values; None in ``shape`` stands for any length."""
        dset = self.dataset(name)
        same = len(dset.shape) == len(shape) and all(
            wanted in (None, size) for wanted, size in zip(shape, dset.shape, strict=True)
        )
        if not same or dset.dtype != np.dtype(dtype):
            expected = f"expected {np.dtype(dtype)} {shape}"
            raise DataError(f"{name}: {dset.dtype} {dset.shape}, {expected}")
        values: Array = dset[()]
        return values

    def facts(self) -> dict[str, Any]:
        """Return the facts, which the file has as JSON."""
        dset = self.dataset("facts")
        if dset.dtype.kind != "S" or dset.shape != ():
            raise DataError(f"facts: {dset.dtype} {dset.shape}, expected one text")
        facts: dict[str, Any] = json.loads(bytes(dset[()]))
        return facts


def _check_schema(facts: dict[str, Any]) -> None:
    schema = facts["schema"]
    if schema not in (SCHEMA, SCHEMA_BEFORE):
        raise DataError(f"has schema {schema!r:.60}, expected {SCHEMA!r}")
    rows = _typed(facts, FACTS)["config"].get("train_rows", "all")
    if schema == SCHEMA_BEFORE and rows != "all":
        raise DataError(
            f"is of an older hpcpgd, whose --train-rows {rows} counted the validation rows as "
            "well: its rows cannot be selected again: start over with --resume never --overwrite"
        )


def _decode(content: _Content) -> State:
    facts = content.facts()
    _check_schema(facts)
    network = _network(facts["network"])
    segments = [_segment(content, number, f) for number, f in enumerate(facts["segments"], 1)]
    totals = content.array("totals", np.float64, (None, TOTALS))
    if not re.fullmatch(r"[0-9A-Za-z]{1,64}", _typed(facts, FACTS)["run"]):
        raise DataError(f"run is {facts['run']!r:.60}, expected letters and digits")
    if not segments or facts["steps"] < 0:
        raise DataError(f"has {len(segments)} segments and {facts['steps']} steps")
    if not 0 <= facts["elapsed"] < ALL_TIME:
        raise DataError(f"elapsed is {facts['elapsed']!r:.60}, expected seconds of training")
    if not len(totals):
        raise DataError("totals: has no row")
    return State(
        network=network,
        totals=totals,
        parameters=_parameters(content, network, "model"),
        states=_states(content, network),
        history=History(Epoch(*row) for row in content.array("history", EPOCH, (None,)).tolist()),
        segments=segments,
        best=_parameters(content, network, BEST) if BEST in content.file else None,
        **_typed(facts, FACTS),
    )


def _states(content: _Content, network: Network) -> Array:
    """Return what the optimiser keeps; checkpoints of gradient descent have none."""
    if "optimiser" not in content.file:
        return np.zeros((0, network.size), network.dtype)
    return content.array("optimiser", network.dtype, (None, network.size))


def _network(facts: dict[str, Any]) -> Network:
    widths = facts["widths"]
    if len(widths) < 2 or not all(type(width) is int and width >= 1 for width in widths):
        raise DataError(f"its network has widths {widths}")
    network = Network(**{**facts, "widths": tuple(widths)})
    if network.dtype not in ("float32", "float64"):
        raise DataError(f"its network has dtype {network.dtype!r:.60}, expected float32 or float64")
    if wrong := network.wrong_function():
        raise DataError(wrong)
    return network


def _typed(facts: dict[str, Any], kinds: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of these names, each checked for its type; a float may be an int."""
    for name, kind in kinds.items():
        value = facts[name]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise DataError(f"{name} is {value!r:.60}, expected {kind.__name__}")
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise DataError(f"{name} has more than 64 bits")
        if type(value) is str:
            # HDF5 holds no other texts; only a path may be other than UTF-8.
            coded = os.fsencode(value) if name == "run_file" else value.encode()
            if b"\0" in coded:
                raise DataError(f"{name} is {value!r:.60}, expected a text without zero bytes")
    return {name: facts[name] for name in kinds}


def _parameters(content: _Content, network: Network, group: str) -> Array:
    values = [
        content.array(f"{group}/layer{layer}/{name}", network.dtype, shape[axis:])
        for layer, shape in enumerate(pairwise(network.widths), 1)
        for axis, name in enumerate(("weights", "biases"))
    ]
    return network.filled(values)  # only now: the file is known to have as many numbers


def _segment_facts(segment: Segment) -> dict[str, Any]:
    """Return a segment without its timing, as types that JSON has."""
    facts = {name: getattr(segment, name) for name in SEGMENT}
    places = [asdict(place) for place in segment.places]
    return facts | {"places": places, "timed": bool(segment.timing.epochs)}


def _segment(content: _Content, number: int, facts: dict[str, Any]) -> Segment:
    places = [RankPlace(**_typed(place, PLACE)) for place in facts["places"]]
    if not places:
        raise DataError(f"segment {number} has no ranks")
    # Checkpoints of earlier versions lack these.
    added = ("others_used", "initial_sha256", "precision")
    facts = {name: getattr(Segment, name) for name in added} | facts
    segment = Segment(**{**_typed(facts, SEGMENT), "places": places})
    name = f"timing/segment{number}"
    if facts["timed"]:
        epochs = content.array(f"{name}/epoch", np.int64, (None,))
        shape = (len(epochs), len(places))
        seconds = content.array(f"{name}/seconds", np.float64, (*shape, len(PHASES)))
        rows = content.array(f"{name}/rows", np.int64, shape)
        segment.timing = Timing(epochs.tolist(), seconds, rows)
    return segment
