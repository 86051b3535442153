"""The input of a library's program: rows, their order, initial weights, expected losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hpcpgd.config.run_config import RunConfig
from hpcpgd.data import RawData, prepare
from hpcpgd.engines.parameters import initial_parameters, make_network
from hpcpgd.errors import DataError
from hpcpgd.results.atomic import write_atomically
from hpcpgd.results.result_reader import opened_result
from hpcpgd.study.grid import Point, digest
from hpcpgd.study.study_folder import Job, StudyFolder
from hpcpgd.train.planning import make_sampler

FIRST = 1  # the repeat whose losses the libraries must reproduce


class Problems:
    """Writes problems into a study's folder.

    Parameters
    ----------
    raw : RawData
        The dataset of all points.
    """

    def __init__(self, place: StudyFolder, raw: RawData) -> None:
        self._place = place
        self._folder = place.path / "problems"
        self._raw = raw

    def write(self, config: RunConfig) -> Path:
        """Write rows, order and initial weights, unless they are there; return the file."""
        parts = [config.hidden, config.train_rows, config.dataset, config.epochs, config.seed]
        path = self._folder / f"{digest(parts)}.npz"
        if not path.exists():
            self._folder.mkdir(exist_ok=True)
            unfinished = path.with_name(f".{path.name}")  # the suffix that numpy insists on
            np.savez(unfinished, **self._arrays(config))
            unfinished.replace(path)
        return path

    def _arrays(self, config: RunConfig) -> dict[str, Any]:
        rows = None if config.train_rows == "all" else int(config.train_rows)
        data = prepare(self._raw, seed=config.seed, train_rows=rows, test_fraction=None)
        network = make_network(config, data.n_in, data.n_out)
        flat = initial_parameters(network, config.seed)
        sampler = make_sampler(config, data.train.rows)
        order = np.empty((config.epochs, data.train.rows), np.int64)
        for epoch in range(config.epochs):
            sampler.numbers(epoch + 1, 0, order[epoch])
        arrays: dict[str, Any] = {
            "features": data.train.features, "scale": data.scale, "offset": data.offset,
            "labels": data.train.labels, "classes": data.n_out, "order": order,
        }  # fmt: skip
        for layer in range(1, network.depth + 1):
            arrays[f"weights{layer}"] = network.weights(flat, layer)
            arrays[f"biases{layer}"] = network.biases(flat, layer)
        return arrays

    def expect(self, name: str, points: tuple[Point, ...]) -> Path:
        """Write the losses of our own runs of ``points`` by batch size.

        Raises
        ------
        DataError
            If one of them has not ended well.
        """
        losses = {str(p.config.batch_size): self._losses(p) for p in points}
        path = self._folder / f"{name}.json"
        self._folder.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(losses).encode())
        return path

    def _losses(self, point: Point) -> list[float]:
        path = self._place.run_file(Job(point, FIRST))
        if not path.exists():
            said = f"{point.config.backend}, batch {point.config.batch_size}"
            raise DataError(f"no run of {said} has ended well: no losses to compare with")
        with opened_result(path) as run:
            return [float(loss) for loss in run.values("history/train_loss", (None,))]
