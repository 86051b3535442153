"""A checkpoint's content as HDF5, and back.

Everything is a plain, contiguous dataset of the file itself: what a reader allocates is
never more than the file's own size, and a file made to do harm leads nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

import h5py
import numpy as np

from hpcpgd.checkpoint.state import State
from hpcpgd.data.guard import one_line
from hpcpgd.data.hdf5 import own_dataset
from hpcpgd.errors import DataError
from hpcpgd.history import Epoch, Timing
from hpcpgd.kernels.network import Array, Network
from hpcpgd.kernels.workspace import TOTALS
from hpcpgd.results.record import RankPlace, Segment

SCHEMA = "hpcpgd.checkpoint/1"
FACTS = {
    "run": str, "run_file": str, "dataset_sha256": str, "steps": int, "elapsed": float,
    "config": dict, "facts": dict,
}  # fmt: skip
EPOCH: Any = np.dtype([(f.name, "i8" if f.type == "int" else "f8") for f in fields(Epoch)])
KINDS = {"int": int, "float": float, "str": str, "bool": bool}
SEGMENT = {f.name: KINDS.get(str(f.type), list) for f in fields(Segment) if f.name != "timing"}
PLACE = dict.fromkeys((field.name for field in fields(RankPlace)), str)


def encode(state: State) -> bytes:
    """Return the content of a checkpoint file."""
    with h5py.File("checkpoint", "w", driver="core", backing_store=False) as file:
        file.attrs["schema"] = SCHEMA
        facts = {name: getattr(state, name) for name in FACTS}
        facts["network"] = asdict(state.network)
        facts["segments"] = [_segment_facts(segment) for segment in state.segments]
        file["facts"] = np.bytes_(json.dumps(facts).encode())
        file["totals"] = state.totals
        rows = [tuple(getattr(epoch, name) for name in EPOCH.names) for epoch in state.history]
        file["history"] = np.array(rows, EPOCH)
        for number, segment in enumerate(state.segments, 1):
            if segment.timing.epochs:
                _encode_timing(file.create_group(f"timing/segment{number}"), segment.timing)
        for name, view in _views(state.network, state.parameters):
            file[name] = view
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def decode(content: memoryview) -> State:
    """Return what ``encode`` was given.

    Raises
    ------
    DataError
        For anything that is not as ``encode`` writes it.
    """
    try:
        access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
        access.set_fapl_core(backing_store=False)
        access.set_file_image(content)
        with h5py.File(h5py.h5f.open(b"checkpoint", h5py.h5f.ACC_RDONLY, access)) as file:
            return _decode(file)
    except DataError:
        raise
    except Exception as error:  # whatever h5py, json or a constructor makes of bad content
        raise DataError(f"cannot be read: {one_line(error)}") from None


def _decode(file: h5py.File) -> State:
    schema = file.attrs.get("schema")
    if schema != SCHEMA:
        raise DataError(f"has schema {schema!r}, expected {SCHEMA!r}")
    facts = json.loads(bytes(_own(file, "facts")[()]))
    widths = tuple(int(width) for width in facts["network"]["widths"])
    network = Network(**{**facts["network"], "widths": widths})
    if len(widths) < 2 or min(widths) < 1:
        raise DataError(f"its network has widths {widths}")
    segments = [_segment(file, number, f) for number, f in enumerate(facts["segments"], 1)]
    totals = _array(file, "totals", np.float64, (None, TOTALS))
    return State(
        network=network,
        totals=totals,
        parameters=_parameters(file, network),
        history=[Epoch(*row) for row in _array(file, "history", EPOCH, (None,)).tolist()],
        segments=segments,
        **_typed(facts, FACTS),
    )


def _typed(facts: dict[str, Any], kinds: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of these names, each of its kind; floats may be whole."""
    for name, kind in kinds.items():
        value = facts[name]
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise DataError(f"{name} is {value!r:.60}, expected {kind.__name__}")
    return {name: facts[name] for name in kinds}


def _own(file: h5py.File, path: str) -> h5py.Dataset:
    """Return a dataset whose values are in this file, as they are stored."""
    *groups, name = path.split("/")
    here = file
    for group in groups:
        if not isinstance(here.get(group, getlink=True), h5py.HardLink):
            raise DataError(f"{path}: {group} is missing or leads elsewhere")
        here = here[group]
    found = own_dataset(here, name, path)
    nbytes = found.size * found.dtype.itemsize
    if found.dtype.kind not in "iufSV" or found.chunks or found.id.get_storage_size() != nbytes:
        raise DataError(f"{path}: expected plain numbers or text, stored in one piece")
    return found


def _array(file: h5py.File, name: str, dtype: Any, shape: tuple[int | None, ...]) -> Array:
    """Return a dataset's values; None stands for any length."""
    found = _own(file, name)
    same = len(found.shape) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, found.shape, strict=True)
    )
    if not same or found.dtype != np.dtype(dtype):
        raise DataError(f"{name}: {found.dtype} {found.shape}, expected {np.dtype(dtype)} {shape}")
    values: Array = found[()]
    return values


def _parameters(file: h5py.File, network: Network) -> Array:
    found = {
        layer: (
            _array(file, f"model/layer{layer}/weights", network.dtype, shape),
            _array(file, f"model/layer{layer}/biases", network.dtype, shape[1:]),
        )
        for layer, shape in enumerate(zip(network.widths, network.widths[1:], strict=False), 1)
    }
    flat = network.zeros()  # only now: the file has as many numbers
    for layer, (weights, biases) in found.items():
        network.weights(flat, layer)[...] = weights
        network.biases(flat, layer)[...] = biases
    return flat


def _segment_facts(segment: Segment) -> dict[str, Any]:
    """Return a segment without its timing, as JSON has it."""
    facts = {name: getattr(segment, name) for name in SEGMENT}
    places = [asdict(place) for place in segment.places]
    return facts | {"places": places, "timed": bool(segment.timing.epochs)}


def _segment(file: h5py.File, number: int, facts: dict[str, Any]) -> Segment:
    places = [RankPlace(**_typed(place, PLACE)) for place in facts["places"]]
    segment = Segment(**{**_typed(facts, SEGMENT), "places": places})
    name = f"timing/segment{number}"
    if facts["timed"]:
        epochs = _array(file, f"{name}/epoch", np.int64, (None,))
        shape = (len(epochs), len(places))
        seconds = _array(file, f"{name}/seconds", np.float64, (*shape, None))
        rows = _array(file, f"{name}/rows", np.int64, shape)
        segment.timing = Timing(epochs.tolist(), list(seconds), list(rows))
    return segment


def _encode_timing(group: Any, timing: Timing) -> None:
    group["epoch"] = np.array(timing.epochs, np.int64)
    group["seconds"], group["rows"] = np.stack(timing.seconds), np.stack(timing.rows)


def _views(network: Network, flat: Array) -> Iterator[tuple[str, Array]]:
    """Yield the parts of the parameters, by the names that a run file gives them."""
    for layer in range(1, network.depth + 1):
        yield f"model/layer{layer}/weights", network.weights(flat, layer)
        yield f"model/layer{layer}/biases", network.biases(flat, layer)
