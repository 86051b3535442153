"""The network of a run file, with what its inputs and outputs mean."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tomli_w

from hpcpgd.data import guard
from hpcpgd.environment.extras import library
from hpcpgd.errors import DataError
from hpcpgd.kernels.core.network import FUNCTION_CODES, Array, Network
from hpcpgd.results.result_reader import ResultReader, opened_result

FUNCTIONS = ("activation", "output_activation", "loss", "task")
SCALING = {
    "input_scale", "input_offset", "input_mean", "input_deviation", "target_mean",
    "target_deviation",
}  # fmt: skip
Content = tuple[dict[str, Array], dict[str, str], list[str]]  # arrays, functions, class labels

BLOCK = 512  # rows of a product: with the same blocks on any number of ranks the bits are the same


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network: its inputs are ``(x * scale + offset - mean) / deviation``.

    Attributes
    ----------
    parameters : ndarray, shape (size,)
    labels : tuple of str
        The label of each output, or the name of a regression's target.
    mean, deviation : ndarray of float64, shape (inputs,) or ()
        0 and 1 where columns are not standardised.
    target_mean, target_deviation : ndarray of float64, shape (outputs,) or ()
        The same of a regression's targets: it predicts ``output * deviation + mean``.
    """

    network: Network
    parameters: Array
    labels: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0
    mean: Array = field(default_factory=lambda: np.zeros(()))
    deviation: Array = field(default_factory=lambda: np.ones(()))
    target_mean: Array = field(default_factory=lambda: np.zeros(()))
    target_deviation: Array = field(default_factory=lambda: np.ones(()))

    def first_layer(self, features: Array) -> Array:
        """Return what features (rows, inputs) are as the input layer, in the network's dtype."""
        if not self.mean.shape:  # as training computes it
            real = np.dtype(self.network.dtype).type
            return np.asarray(features.astype(real) * real(self.scale) + real(self.offset))
        values = features * self.scale + self.offset
        return np.asarray((values - self.mean) / self.deviation, self.network.dtype)

    def outputs(self, features: Array) -> Array:
        """Return the outputs (rows, outputs) for features as stored (rows, inputs)."""
        from hpcpgd.kernels.core.elementwise import add_bias_and_activate  # imports numba

        network, flat, features = self.network, self.parameters, np.asarray(features)
        if features.shape[1:] != network.widths[:1]:
            raise DataError(f"x: has shape {features.shape}, expected (rows, {network.widths[0]})")
        outputs = np.empty((len(features), network.widths[-1]), network.dtype)
        for begin in range(0, len(features), BLOCK):
            a = self.first_layer(features[begin : begin + BLOCK])
            for layer, function in enumerate(network.functions, 1):
                a, biases = a @ network.weights(flat, layer), network.biases(flat, layer)
                add_bias_and_activate(FUNCTION_CODES[function], biases, a, a, 0, biases.size)
            outputs[begin : begin + BLOCK] = a
        return outputs

    def predictions(self, outputs: Array) -> Array:
        """Return the class of each row (rows,), or a regression's numbers (rows, targets)."""
        if not self.network.regression:
            return np.asarray(outputs.argmax(axis=1))
        return outputs.astype(np.float64) * self.target_deviation + self.target_mean


def to_bytes(model: Model) -> bytes:
    """Return a model as other ranks of this job receive it."""
    arrays: dict[str, Any] = {k: v for k, v in vars(model).items() if isinstance(v, np.ndarray)}
    facts = {k: v for k, v in vars(model).items() if k not in arrays}
    image = io.BytesIO()
    np.savez(image, facts=np.array(json.dumps(facts, default=asdict)), **arrays)
    return image.getvalue()


def from_bytes(data: bytes) -> Model:
    """Return the model that ``to_bytes`` was given."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))
        network = facts.pop("network")
        facts |= {name: arrays[name] for name in arrays.files if name != "facts"}
    network = Network(**{**network, "widths": tuple(network["widths"])})
    return Model(**{**facts, "network": network, "labels": tuple(facts["labels"])})


def read_network(path: Path, dtype: str) -> Model:
    """Return the network of a run file or an export, its weights as ``dtype``; or DataError."""
    if path.suffix not in (*READERS, ".h5", ".hdf5"):
        raise DataError(f"{path}: expected a run file, .h5, or an export: {', '.join(READERS)}")
    with (_opened_export if path.suffix in READERS else opened_result)(path) as run:
        return read_model(run, dtype=dtype)


@contextmanager
def _opened_export(path: Path) -> Iterator[ResultReader]:
    """Open an export as the run file that it is of, in memory: one reader checks both."""
    guard.ensure_fits(guard.file_size(path), path)
    with guard.refuse_bad_file(path), h5py.File(io.BytesIO(), "w") as file:
        try:
            arrays, functions, labels = READERS[path.suffix](path)
            layers = range(1, 1 + sum(name.endswith(".weights") for name in arrays))
            known = {f"layer{n}.{part}" for n in layers for part in ("weights", "biases")} | SCALING
            for name, array in arrays.items():
                if name not in known or array.dtype.char not in "fd":
                    raise DataError(
                        f"has {name} of {array.dtype}, expected the floats of an export"
                    )
                file[f"model/{name.replace('.', '/')}"] = array
                if not array.ndim:
                    file["model"].attrs[name] = array
            file[f"model/{_names(functions)}"] = labels
            file.attrs.update(dtype="float64", config=tomli_w.dumps({"train": functions}))
            yield ResultReader(file)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def _names(functions: dict[str, str]) -> str:
    return "target_names" if functions.get("task") == "regression" else "class_labels"


def _npz(path: Path) -> Content:
    with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as file:
        guard.ensure_fits(sum(member.file_size for member in archive.infolist()), path)
        arrays = dict(file)
    functions = {name: str(arrays.pop(name, "")) for name in FUNCTIONS}
    labels = arrays.pop(_names(functions), np.array([])).astype(str).tolist()
    return arrays, functions, labels


def _safetensors(path: Path) -> Content:
    safetensors = library("safetensors", "export")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            facts = file.metadata() or {}
            labels = json.loads(facts.pop(_names(facts), "[]"))
            return {name: file.get_tensor(name) for name in [*file.keys()]}, facts, labels
    except safetensors.SafetensorError as error:
        raise DataError(f"cannot be read: {guard.one_line(error)}") from None


READERS = {".npz": _npz, ".safetensors": _safetensors}


def read_model(run: ResultReader, which: str = "last", dtype: str = "") -> Model:
    """Return the network of a run file with its ``last`` or ``best`` weights.

    They are rounded to ``dtype`` if one is given.

    Raises
    ------
    DataError
        If the run has no weights, or a value is wrong.
    """
    group = {"last": "model", "best": "best_model"}[which]
    if which == "best" and not run.has(group):
        raise DataError("has no best weights: expected a run with --keep-best or --patience")
    if not run.has(group):
        raise DataError(f"has no weights, status {run.text('status')!r}: expected a complete run")
    layers = _layers(run, group)
    network = _network(run, (layers[0][0].shape[0], *(len(b) for _, b in layers)))
    network = replace(network, dtype=dtype or network.dtype)
    with np.errstate(over="ignore"):  # the test below finds it
        parameters = network.filled(itertools.chain(*layers))
    if not np.isfinite(parameters).all():
        raise DataError(f"{group}: has weights that are not finite in {network.dtype}")
    place = f"{group}/{_names(run.config())}"
    labels, inputs = run.labels(place), network.widths[0]
    if len(set(labels)) != network.widths[-1]:
        raise DataError(f"{place}: expected {network.widths[-1]} that differ")
    scale, offset = (run.real(group, name) for name in ("input_scale", "input_offset"))
    outputs = network.widths[-1]
    scaling = *_standard(run, f"{group}/input", inputs), *_standard(run, f"{group}/target", outputs)
    return Model(network, parameters, labels, scale, offset, *scaling)


def _standard(run: ResultReader, what: str, count: int) -> tuple[Array, Array]:
    """Return mean and deviation of the inputs or targets, 0 and 1 if they are not standardised."""
    if not run.has(f"{what}_mean"):
        return np.zeros(()), np.ones(())
    mean, deviation = (run.values(f"{what}_{n}", (count,)) for n in ("mean", "deviation"))
    if not (np.isfinite([mean, deviation]).all() and (deviation > 0).all()):
        raise DataError(f"{what}: expected finite means, and finite deviations above 0")
    return mean, deviation


def _layers(run: ResultReader, group: str) -> list[tuple[Array, Array]]:
    layers: list[tuple[Array, Array]] = []
    fan_in = None
    while not layers or run.has(f"{group}/layer{len(layers) + 1}"):
        place = f"{group}/layer{len(layers) + 1}"
        weights = run.values(f"{place}/weights", (fan_in, None))
        fan_in = weights.shape[1]
        layers.append((weights, run.values(f"{place}/biases", (fan_in,))))
    return layers


def _network(run: ResultReader, widths: tuple[int, ...]) -> Network:
    config, dtype = run.config(), run.text("dtype")
    if dtype not in ("float32", "float64"):
        raise DataError(f"attribute 'dtype' is {dtype}, expected float32 or float64")
    functions = {n: config.get(n, "") for n in FUNCTIONS if n != "task"}
    regression = config.get("task") == "regression"
    network = Network(widths, dtype, **functions, regression=regression)
    if wrong := network.wrong_function():
        raise DataError(f"config: {wrong}")
    return network
