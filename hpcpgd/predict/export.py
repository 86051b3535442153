"""``hpcpgd export``: the network of a run file in the formats of other programs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.cli.launcher import guarded, launcher_rank, say
from hpcpgd.cli.parser import OneLineParser
from hpcpgd.environment.extras import library
from hpcpgd.errors import ConfigError, UsageError, nearest
from hpcpgd.predict.cli import WEIGHTS

PROGRAM = "hpcpgd export"
DESCRIPTION = """Write the network of a run file for other programs: weights, scale of the inputs,
labels of the classes.  In onnx the graph scales the features itself.  safetensors and onnx need
pip install 'hpcpgd[export]'."""
EPILOG = """Exit code: 0 done, 2 wrong flag, 65 bad run file, 69 a library is missing, 74 the output
cannot be written, 78 the network is too large for onnx."""
OPSET, IR = 17, 8  # of ONNX, which every onnxruntime since 1.13 reads
GELU_OPSET, GELU_IR = 20, 9  # the first with Gelu
ONNX_LIMIT = 2**31 - 2**20  # bytes of a message of protobuf, less some for the graph
OPERATORS = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softmax": "Softmax",
    "linear": "Identity", "gelu": "Gelu",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hpcpgd export`` and return its exit code; under a launcher one rank works."""
    return guarded(PROGRAM, lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    parser = OneLineParser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("run", type=Path, metavar="RUN.h5")
    parser.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--weights", choices=("last", "best"), default="last", help=WEIGHTS)
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: RUN.FORMAT")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    options = parser.parse_args(argv)
    if options.to not in FORMATS:
        hint = nearest(options.to, FORMATS)
        raise UsageError(f"--to {options.to}: expected one of {', '.join(FORMATS)}{hint}")
    if launcher_rank() == 0:
        from hpcpgd.results.atomic import check_writable, write_atomically
        from hpcpgd.results.model_reader import FUNCTIONS, read_model
        from hpcpgd.results.result_reader import opened_result

        output = options.output or options.run.with_suffix(f".{options.to}")
        with opened_result(options.run) as run:
            model, config = read_model(run, options.weights), run.config()
        facts = {name: config[name] for name in FUNCTIONS if name in config}
        facts[_names(model)] = json.dumps(model.labels, ensure_ascii=False)
        check_writable(output, options.overwrite, options.run)
        write_atomically(output, FORMATS[options.to](model, facts))
        which = ", the best weights" if options.weights == "best" else ""
        say(f"{options.to:<12}{output}{which}")
    return 0


def _arrays(model: Any) -> dict[str, Any]:
    """Return all numbers by the names that the run file has for them, with dots for slashes."""
    numbers = {"scale": model.scale, "offset": model.offset}
    if model.mean.shape:
        numbers |= {"mean": model.mean, "deviation": model.deviation}
    arrays = {f"input_{name}": np.array(value, np.float64) for name, value in numbers.items()}
    if model.target_mean.shape:
        arrays |= {n: getattr(model, n) for n in ("target_deviation", "target_mean")}
    parts = model.network.parts(model.parameters)
    return arrays | {name.replace("/", "."): part.copy() for name, part in parts.items()}


def _names(model: Any) -> str:
    return "target_names" if model.network.regression else "class_labels"


def _npz(model: Any, facts: dict[str, str]) -> bytes:
    image = io.BytesIO()
    arrays = _arrays(model) | facts | {_names(model): np.array(model.labels)}
    np.savez(image, **arrays)
    return image.getvalue()


def _safetensors(model: Any, facts: dict[str, str]) -> bytes:
    return bytes(library("safetensors.numpy", "export").save(_arrays(model), facts))


def _onnx(model: Any, facts: dict[str, str]) -> bytes:
    """Return a graph from features, float64 (rows, inputs) as stored, to predictions."""
    onnx, network, arrays = library("onnx", "export"), model.network, _arrays(model)
    if network.size * network.itemsize > ONNX_LIMIT:
        raise ConfigError("--to onnx: the network is above 2 GiB: expected --to safetensors")
    kinds, real = onnx.TensorProto, onnx.helper.np_dtype_to_tensor_dtype(model.parameters.dtype)
    features, *results = (
        onnx.helper.make_tensor_value_info(name, kind, ["rows", *columns])
        for name, kind, *columns in (
            ("features", kinds.DOUBLE, network.widths[0]),
            ("outputs", real, network.widths[-1]),
            ("predicted", kinds.DOUBLE, network.widths[-1])
            if network.regression
            else ("predicted", kinds.INT64),
        )
    )
    nodes = _nodes(onnx.helper.make_node, network, arrays, real, kinds.DOUBLE)
    numbers = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "hpcpgd", [features], results, numbers)
    new = "gelu" in network.functions
    opsets = [onnx.helper.make_opsetid("", GELU_OPSET if new else OPSET)]
    made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=GELU_IR if new else IR)
    onnx.helper.set_model_props(made, facts)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _nodes(make: Any, network: Any, arrays: dict[str, Any], real: int, double: int) -> list[Any]:
    nodes, at = [], "features"
    scaling = [name for name in arrays if name.startswith("input_")]
    for operator, name in zip(("Mul", "Add", "Sub", "Div"), scaling, strict=False):
        nodes.append(make(operator, [at, name], [at := f"{name}.applied"]))
    nodes.append(make("Cast", [at], [at := "layer0"], to=real))
    for layer in range(1, network.depth + 1):
        last, place = layer == network.depth, f"layer{layer}"
        operator = OPERATORS[network.functions[layer - 1]]
        form = {"approximate": "tanh"} if operator == "Gelu" else {}
        nodes.append(make("Gemm", [at, f"{place}.weights", f"{place}.biases"], [f"{place}.z"]))
        nodes.append(make(operator, [f"{place}.z"], [at := "outputs" if last else place], **form))
    if not network.regression:
        return [*nodes, make("ArgMax", ["outputs"], ["predicted"], axis=1, keepdims=0)]
    nodes.append(make("Cast", ["outputs"], [at := "numbers"], to=double))
    for operator, name in (("Mul", "target_deviation"), ("Add", "target_mean")):
        if name in arrays:
            nodes.append(make(operator, [at, name], [at := f"{name}.applied"]))
    return [*nodes, make("Identity", [at], ["predicted"])]


FORMATS: dict[str, Callable[[Any, dict[str, str]], bytes]] = {
    "npz": _npz, "safetensors": _safetensors, "onnx": _onnx,
}  # fmt: skip
