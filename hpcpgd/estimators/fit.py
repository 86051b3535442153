"""Training in a Python program, any number of times: ``hpcpgd.fit``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from hpcpgd.config.read_options import from_flags, meant
from hpcpgd.config.resolve import resolve
from hpcpgd.config.run_config import FIELDS, NAMES, RunConfig
from hpcpgd.data.reading import ARRAYS
from hpcpgd.errors import UsageError

if TYPE_CHECKING:
    from hpcpgd.kernels.core.network import Array
    from hpcpgd.results.model_reader import Model
    from hpcpgd.results.record import RunRecord

# Files are written if one of these is given.
OF_FILES = ("output", "checkpoint_dir", "checkpoint_every", "resume", "time_limit")


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """The result of `fit`, the same on every rank.

    Attributes
    ----------
    path : Path or None
        The run file, if there is one.
    history : dict of str to ndarray, shape (epochs,)
        The columns of ``history`` in a run file, such as ``train_loss``.
    test : dict of str to float
        Loss and accuracy, or R² as ``r2``, of the test rows; empty without test rows.
    model : Model
        ``model.outputs(x)`` are the outputs of the network.
    best : Model or None
        The same with the weights of the lowest validation loss (``keep_best``, ``patience``).
    """

    path: Path | None
    history: dict[str, Array]
    test: dict[str, float]
    model: Model
    best: Model | None

    def __repr__(self) -> str:
        """Return what the network is and how long it was trained."""
        widths = "-".join(map(str, self.model.network.widths))
        return f"Fitted({widths}, {len(self.history['train_loss'])} epochs, path={self.path})"

    def predict(self, x: Any) -> Array:
        """Return the label of each row (rows,), or a regression's numbers (rows, targets).

        ``x`` (rows, inputs) is as stored in the data, and so are the numbers.
        """
        predictions = self.model.predictions(self.model.outputs(x))
        if self.model.network.regression:
            return predictions
        return np.array(self.model.labels)[predictions]


def fit(*, comm: Any = None, data: Mapping[str, Any] | None = None, **options: Any) -> Fitted:
    """Train a network, any number of times in a process; collective over ``comm``.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        The ranks that train together; by default all of the job, one in a notebook.
    data : mapping of str to array, optional
        The rows, in place of ``dataset``: ``x_train``, ``y_train`` and, if there are, those of
        ``validation`` and ``test``.  Every rank gives some; those of rank 0 count.
    **options
        The flags of ``hpcpgd train``, with underscores; no file is written without ``output``.

    Raises
    ------
    HpcpgdError
        The same on every rank.  An error that only one of several ranks has, and ranks that
        hang, end the job: the others would wait for ever.
    """
    from hpcpgd.parallel import mpi  # only now: mpi4py starts MPI if a program imports it first
    from hpcpgd.train import job

    comm = mpi.start_in_program(comm)
    try:
        with threadpool_limits(user_api="blas"):  # at the end BLAS has as many threads as before
            with mpi.agreed(comm):
                config = _resolved(options, data)
            fitted: Fitted = job.train(comm, config, result=_fitted)
            return fitted
    except BaseException as error:
        if not mpi.raised_on_all(comm, error):
            job.end_all("hpcpgd.fit", comm, error)
        raise


def _resolved(options: dict[str, Any], data: Mapping[str, Any] | None) -> RunConfig:
    known = {*FIELDS, *NAMES} - ({"dataset"} if data is not None else set())
    for key in options.keys() - known:
        raise UsageError(f"hpcpgd.fit: unknown option '{key}'{meant(key, sorted(known))}")
    if data is not None and not isinstance(data, Mapping):
        raise UsageError(
            f"hpcpgd.fit: data is a {type(data).__name__}: expected arrays by name, such as "
            '{"x_train": x, "y_train": y}'
        )
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}
    config = resolve({}, from_flags(plain))
    if data is not None:
        config = replace(config, dataset=ARRAYS, arrays=data)
    if options.keys() & OF_FILES:
        return config
    return replace(config, output="", checkpoint_every="never")


def _fitted(record: RunRecord) -> Fitted:
    from hpcpgd.results.model_reader import Model  # imports h5py

    network, data, history = record.network, record.dataset, record.history
    labels = tuple(data.class_names) or tuple(map(str, range(network.widths[-1])))
    names = ("mean", "deviation", "target_mean", "target_deviation")
    scaling = {n: np.array(getattr(data, n)) for n in names if getattr(data, n)}

    def model(parameters: Array) -> Model:  # of a copy: the run's memory may be freed
        return Model(network, np.array(parameters), labels, data.scale, data.offset, **scaling)

    columns, test = {f.name: history.column(f.name) for f in fields(history.last)}, record.test
    scores = {} if test is None else {"loss": test.loss, "accuracy": test.accuracy}
    if data.regression:
        for split in ("train", "validation"):
            columns[f"{split}_r2"] = data.r2(split, columns[f"{split}_loss"])
        scores = {} if test is None else {"loss": test.loss, "r2": data.r2("test", test.loss)}
    assert record.parameters is not None  # a run that ends has them
    return Fitted(
        path=Path(record.config.output) if record.config.output else None,
        history=columns,
        test=scores,
        model=model(record.parameters),
        best=None if record.best is None else model(record.best),
    )
