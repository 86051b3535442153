"""Predict rows on all ranks, and say how good the predictions are."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from threadpoolctl import threadpool_limits

from hpcpgd.cli.launcher import say
from hpcpgd.cli.quantities import number, percent
from hpcpgd.data import Split
from hpcpgd.data.dataset import spread
from hpcpgd.errors import printable
from hpcpgd.kernels.core.elementwise import LOSS
from hpcpgd.kernels.core.elementwise import score as add_score
from hpcpgd.kernels.core.network import FUNCTION_CODES, LOSS_CODES, Array
from hpcpgd.kernels.core.partition import block_range
from hpcpgd.kernels.core.workspace import TOTALS
from hpcpgd.machine import jit_cache
from hpcpgd.machine.node_memory import ensure_memory
from hpcpgd.parallel import mpi
from hpcpgd.predict import chosen_rows
from hpcpgd.predict.prediction_file import write
from hpcpgd.results.model_reader import BLOCK, Model, from_bytes, to_bytes
from hpcpgd.train.distribute import share

MOST_CLASSES = 20  # of a confusion matrix that is printed


def predict(world: mpi.Comm, request: Namespace) -> None:
    """Predict the rows that ``request`` names and write the result; collective.

    Raises
    ------
    HpcpgdError
        The same on every rank.
    """
    ranks = mpi.join(world)
    jit_cache.share_folder(ranks)
    model, dataset, numbers, run = None, None, np.zeros(0, np.int64), ""
    with mpi.agreed(ranks.comm):
        if ranks.rank == 0:
            model, dataset, numbers, run = chosen_rows.read(request)
    data = mpi.bcast_bytes(ranks.comm, b"" if model is None else to_bytes(model))
    model, dataset = from_bytes(data), share(ranks, dataset)
    split = dataset.train
    outputs = outputs_on_all(ranks, model, split.features)
    with mpi.agreed(ranks.comm):
        if ranks.rank == 0:
            if request.output:
                arrays = {"row": numbers, "predicted": model.predictions(outputs)}
                arrays |= {} if dataset.regression else {"outputs": outputs}
                arrays |= {"true": split.labels} if dataset.labelled else {}
                write(request.output, model, arrays, run, dataset.name)
            facts = {"rows": f"{split.rows} of {dataset.name}"}
            if request.weights == "best":
                facts["weights"] = "best, by the validation loss"
            if not model.mean.shape and dataset.scale != model.scale:
                facts["scale"] = f"{model.scale:.6g} as in the run; the data suggest otherwise"
            if dataset.labelled:
                score = regression_scores if dataset.regression else class_scores
                facts |= score(model, outputs, split)
            if request.output:
                facts["output"] = printable(str(request.output))
            say("\n".join(f"{name:<12}{text}" for name, text in facts.items()))
    mpi.leave(ranks)


def outputs_on_all(ranks: mpi.Ranks, model: Model, features: Array) -> Array:
    """Return the outputs for all rows; the ranks divide the blocks of rows; collective."""
    rows, network = len(features), model.network
    shape = (rows, network.widths[-1])
    ensure_memory(ranks, rows * shape[1] * network.itemsize, "the outputs")
    outputs = np.zeros(shape, network.dtype)
    first, end = block_range(-(-rows // BLOCK), ranks.size, ranks.rank)
    with threadpool_limits(1), np.errstate(all="ignore"):
        part = slice(first * BLOCK, min(end * BLOCK, rows))
        outputs[part] = model.outputs(features[part])
    # As whole numbers: a sum of floats would turn -0 into 0.
    mpi.allreduce_sum(ranks.comm, outputs.view(f"i{network.itemsize}"))
    return outputs


def regression_scores(model: Model, outputs: Array, split: Split) -> dict[str, str]:
    """Return R² and the mean squared error in the units of the targets as text by label.

    R² is over all targets as in training, where standardised ones weigh alike.
    """
    errors = split.labels - model.predictions(outputs)
    around = spread(split.labels)
    whole = _r2(errors / model.target_deviation, around / model.target_deviation)
    facts = {"R2": number(float(whole)), "mse": number((errors**2).sum() / len(outputs))}
    if len(model.labels) > 1:
        each = ", ".join(map(number, _r2(errors, around, 0)))
        facts["each R2"] = f"{each} ({printable(', '.join(model.labels))})"
    return facts


def _r2(errors: Array, around: Array, axis: int | None = None) -> Array:
    """Return the explained fraction of the variance; NaN for targets that are all equal."""
    with np.errstate(all="ignore"):
        squares, whole = ((values**2).sum(axis) for values in (errors, around))
        return np.where(whole > 0, 1 - squares / whole, np.nan)


def class_scores(model: Model, outputs: Array, split: Split) -> dict[str, str]:
    """Return accuracy, loss and, for few classes, the confusion matrix as text by label."""
    network, (rows, classes) = model.network, outputs.shape
    table, totals = np.zeros((classes, classes), np.int64), np.zeros(TOTALS)
    codes = LOSS_CODES[network.loss], FUNCTION_CODES[network.output_activation]
    predicted = np.zeros(rows, np.int32)
    add_score(*codes, outputs, split.labels, predicted, totals)
    np.add.at(table, (split.labels, predicted), 1)
    facts = {"accuracy": percent(table.trace() / rows), "loss": number(totals[LOSS] / rows)}
    if classes <= MOST_CLASSES:
        width = max(len(str(table.max())), len(str(classes - 1))) + 1
        lines = ["".join(f"{n:>{width}}" for n in row) for row in [np.arange(classes), *table]]
        facts["confusion"] = "true class in rows, predicted class in columns"
        facts |= {f"{k - 1:>5}" if k else "": line for k, line in enumerate(lines)}
        if model.labels != tuple(map(str, range(classes))):
            facts["classes"] = printable(", ".join(f"{k} {n}" for k, n in enumerate(model.labels)))
    return facts
